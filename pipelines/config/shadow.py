"""`shadow` of params.yaml: both releases are asked the same questions, out of sight of users."""

from pydantic import Field

from pipelines.config.section import LOWER, Section


class ShadowConfig(Section):
    """Two releases compared on the same questions, before the new one answers anybody."""

    replay: int = Field(
        json_schema_extra=LOWER,
        ge=0,
        description="so many of the last different questions of the traffic log are asked of both "
        "releases; 0: none",
    )
    share: float = Field(
        json_schema_extra=LOWER,
        ge=0,
        le=1,
        description="of the questions that come meanwhile, which are asked of both releases once "
        "the live answer was sent, as long as there are fewer than `min_pairs`; 0: none",
    )
    min_pairs: int = Field(
        json_schema_extra=LOWER,
        ge=1,
        description="questions that both releases should have answered before the canary",
    )
    max_seconds: float = Field(
        json_schema_extra=LOWER,
        gt=0,
        description="after which the canary begins, with however many pairs there are; the ledger "
        "says if they were too few",
    )
    false_refusal_rate: float = Field(
        json_schema_extra=LOWER,
        gt=0,
        lt=1,
        description="share of releases that are stopped although they are worse in nothing by more "
        "than canary.limits tolerates, over all comparisons and looks together",
    )
