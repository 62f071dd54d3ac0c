"""`engine` of params.yaml: where ingest, redact, chunk and embed do their work."""

from typing import Literal

from pydantic import Field

from pipelines.config.section import Section


class EngineConfig(Section):
    """One machine, or the nodes of a Ray cluster; the outputs are the same."""

    kind: Literal["local", "ray"] = Field(
        description="local: this machine; ray: Ray Data on the cluster that RAY_ADDRESS names, "
        "or on one that is started for the run"
    )
