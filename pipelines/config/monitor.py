"""`monitor` of params.yaml: which traffic is watched, what is an alarm, and what it may start."""

from pydantic import Field

from pipelines.config.section import Section


class WindowConfig(Section):
    """Which requests are judged together, and when a log is too broken to judge."""

    min_requests: int = Field(
        ge=30,
        description="requests of the live release that a window needs; "
        "fewer is `cannot tell`, and they wait for the next",
    )
    max_requests: int = Field(
        ge=100, description="requests of the longest window; the rest waits for the next"
    )
    max_gap_hours: float = Field(
        gt=0, description="hours without a request that make a window a broken log"
    )
    clock_tolerance_minutes: float = Field(
        ge=0,
        description="minutes by which a row may lie in the future, "
        "or before the row that was logged before it",
    )
    max_failed_share: float = Field(
        ge=0,
        le=1,
        description="share of requests that failed; "
        "above it nothing can be told of questions and answers",
    )
    max_same_question_share: float = Field(
        gt=0, le=1, description="share of requests that may ask the same question; more is a flood"
    )
    max_duplicate_share: float = Field(
        ge=0, le=1, description="share of logged rows that may repeat a request id"
    )


class MonitorConfig(Section):
    """Traffic and drift."""

    hold: bool = Field(description="true: judge and record, start nothing")
    window: WindowConfig = Field(description="what is judged together")
    false_alarm_rate: float = Field(
        gt=0,
        le=0.2,
        description="share of windows without a change that may raise an alarm, "
        "over all signals together",
    )
    persist_windows: int = Field(
        ge=1, description="windows in a row that must raise the alarm before anything is started"
    )
    drastic_factor: float = Field(
        ge=1, description="a statistic this many times its threshold needs no further window"
    )
    min_effect: float = Field(
        ge=0,
        description="difference in standard deviations below which a change is a trifle, "
        "however certain",
    )
    min_slowdown: float = Field(
        ge=1,
        description="times the baseline's latency (geometric means) below which slower answers "
        "are no alarm: latency follows the load, so requests are not independent",
    )
    baseline_requests: int = Field(
        ge=100,
        description="accepted live requests that the baseline of a release grows to, "
        "window by window",
    )
    max_tested: int = Field(
        ge=100,
        le=4000,
        description="rows of a window, and of the baseline, sampled for the test; "
        "bounds memory (its square) and how small a change is noticed",
    )
    num_resamples: int = Field(ge=500, description="random divisions that calibrate the alarm")
    seed: int = Field(ge=0, description="seed of samples and divisions")
    cooldown_hours: float = Field(
        ge=0, description="hours after a start in which no other of the same kind is made"
    )
    max_starts_a_day: int = Field(ge=0, description="starts of the same kind within 24 hours")
    min_reviewed: int = Field(
        ge=1,
        description="reviewed questions that the live release has not learned from; "
        "fewer cannot teach, so a human is asked",
    )
    golden_share: float = Field(
        gt=0,
        lt=1,
        description="share of reviewed questions that become golden questions and never train",
    )
