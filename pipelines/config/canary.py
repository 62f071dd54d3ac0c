"""`canary` of params.yaml: how a new release takes over. No stage reads it."""

from typing import Literal

from pydantic import Field, model_validator

from pipelines.config.section import ANY_CHANGE, HIGHER, LOWER, Section, in_order


class Limit(Section):
    """How much worse the new release may be, and how much worse must be noticed."""

    tolerate: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        description="a release that is worse by no more than this is rolled back with at most "
        "canary.false_rollback_rate",
    )
    find: float = Field(
        json_schema_extra=HIGHER,
        gt=0,
        description="a release that is worse by this passes as good with at most canary.miss_rate",
    )

    @model_validator(mode="after")
    def _order(self) -> "Limit":
        if self.find <= self.tolerate:
            raise ValueError(
                f"find ({self.find:g}) must be above tolerate ({self.tolerate:g}): between the two "
                "both decisions are right"
            )
        return self


class LimitsConfig(Section):
    """A limit for each comparison."""

    failures: Limit = Field(description="more failed requests, as a share of requests")
    latency: Limit = Field(
        description="time to the answer, as a multiple of the old release's; "
        "`release --expect-latency-ratio` replaces tolerate once"
    )
    refusals: Limit = Field(description="more refusing answers, as a share of answers")
    groundedness: Limit = Field(description="drop of the mean groundedness")
    thumbs: Limit = Field(description="more thumbs down, as a share of thumbs")

    @model_validator(mode="after")
    def _allow_equal_times(self) -> "LimitsConfig":
        if self.latency.tolerate < 1:
            raise ValueError(
                f"latency.tolerate ({self.latency.tolerate:g}) must be at least 1: an equal release"
            )
        return self


class CanaryConfig(Section):
    """How a new release takes over."""

    steps: list[float] = Field(
        json_schema_extra=ANY_CHANGE,
        min_length=2,
        description="growing shares of requests that the new release answers; the last must be 1.0",
    )
    min_requests: int = Field(
        json_schema_extra=LOWER,
        ge=1,
        description="answered by the new release in a step before the next one begins",
    )
    max_step_seconds: float = Field(
        json_schema_extra=LOWER,
        gt=0,
        description="what a step cannot tell by then is undecided, see canary.undecided",
    )
    undecided: Literal["roll_back", "hold", "go_on"] = Field(
        json_schema_extra=in_order("roll_back", "hold", "go_on"),
        description="what follows if a step could not tell in time. roll_back: the old release has "
        "everything back; hold: the step goes on until it can tell; go_on: the next step begins, "
        "and the ledger says what is undecided",
    )
    false_rollback_rate: float = Field(
        json_schema_extra=LOWER,
        gt=0,
        lt=1,
        description="share of releases that are rolled back although they are worse in nothing by "
        "more than `tolerate`, over all comparisons and looks together",
    )
    miss_rate: float = Field(
        json_schema_extra=HIGHER,
        gt=0,
        lt=1,
        description="share of releases worse by `find` in a comparison that pass in it as good",
    )
    max_asker_share: float = Field(
        json_schema_extra=HIGHER,
        gt=0,
        le=1,
        description="of the requests that judge the answers; what one tenant sends beyond it "
        "counts for less",
    )
    limits: LimitsConfig = Field(description="how much worse is tolerated, and how much is found")

    @model_validator(mode="after")
    def _steps_grow_to_all(self) -> "CanaryConfig":
        is_growing = self.steps == sorted(set(self.steps))
        if not is_growing or self.steps[0] <= 0 or self.steps[-1] != 1:
            raise ValueError(
                f"steps must be growing shares above 0, the last of them 1.0: {self.steps}"
            )
        return self
