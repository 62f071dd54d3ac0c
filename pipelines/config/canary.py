"""`canary` of params.yaml: how a new release takes over. No stage reads it."""

from pydantic import Field

from pipelines.config.section import Section


class CanaryConfig(Section):
    """How a new release takes over."""

    steps: list[float] = Field(
        min_length=1,
        description="growing shares of requests that the new release answers; the last must be 1.0",
    )
    min_requests: int = Field(
        ge=1, description="answered by the new release in a step before it is judged"
    )
    min_measured: int = Field(
        ge=1,
        description=(
            "answers of each release whose groundedness was measured, before it is compared"
        ),
    )
    max_step_seconds: float = Field(
        gt=0, description="a step with too few requests after that is a refusal, never a pass"
    )
    max_error_rate_increase: float = Field(
        ge=0, le=1, description="share of failed requests against the old release"
    )
    max_latency_ratio: float = Field(
        gt=0,
        description="95th percentile of the time to the answer against the old release; "
        "`release --expect-latency-ratio` replaces it once",
    )
    max_groundedness_drop: float = Field(
        ge=0, le=1, description="mean groundedness against the old release"
    )
    max_refused_increase: float = Field(
        ge=0, le=1, description="share of refusing answers against the old release"
    )
    max_thumbs_drop: float = Field(
        ge=0, le=1, description="share of thumbs up among thumbs against the old release"
    )
    min_thumbs: int = Field(ge=1, description="of each release before thumbs are compared")
