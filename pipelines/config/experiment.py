"""`experiment` of params.yaml: two releases side by side for days. No stage reads it."""

from typing import Literal

from pydantic import Field

from pipelines.config.section import Section


class ExperimentConfig(Section):
    """How two releases are compared on live traffic over days."""

    share: float = Field(
        gt=0, lt=1, description="of the askers whom the new release answers, as long as it runs"
    )
    metric: Literal["thumbs", "corrections", "refusals", "groundedness", "repeats"] = Field(
        description="what decides. thumbs: thumbs down, as a share of thumbs; corrections: as a "
        "share of feedback; refusals: refusing answers; groundedness: what is missing of it; "
        "repeats: askers who ask much the same again",
    )
    confidence: float = Field(
        gt=0.5,
        lt=1,
        description="that the interval holds the true difference, however often one looks",
    )
    repeat_seconds: float = Field(
        gt=0, description="within which much the same question counts as a repeat"
    )
