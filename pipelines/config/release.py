"""`release` of params.yaml: how an accepted candidate becomes the champion."""

from typing import Literal

from pydantic import Field

from pipelines.config.section import HIGHER, Section, in_order


class ExpectedConfig(Section):
    """In what the next release is meant to differ from the live one."""

    latency_ratio: float | None = Field(
        json_schema_extra=HIGHER,
        gt=1,
        description="an answer may take so many times as long; null: nothing is declared",
    )
    refused_increase: float | None = Field(
        json_schema_extra=HIGHER,
        gt=0,
        lt=1,
        description="so much larger may be the share of refusals; null: nothing is declared",
    )


class ReleaseConfig(Section):
    """Who decides, and what is known in advance."""

    approval: Literal["human", "auto"] = Field(
        json_schema_extra=in_order("human", "auto"),
        description="human: a person approves in Airflow what the gate accepted; auto: the gate's "
        "acceptance is enough",
    )
    expected: ExpectedConfig = Field(
        description="changes that are meant: the approver sees them, the canary tests them as "
        "declared, the ledger keeps them"
    )
