"""`release` of params.yaml: how an accepted candidate becomes the champion."""

from typing import Literal

from pydantic import Field

from pipelines.config.section import Section


class ReleaseConfig(Section):
    """Who decides."""

    approval: Literal["human", "auto"] = Field(
        description="human: a person approves in Airflow what the gate accepted; auto: the gate's "
        "acceptance is enough"
    )
