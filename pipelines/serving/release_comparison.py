"""Compares what two releases did on live traffic."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

from pipelines.config.canary import CanaryConfig
from pipelines.contracts.report import Check, CheckCode, Report

Row = dict[str, Any]
ROUNDING = 1e-9
SHORTEST_MS = 0.1  # what a time of 0 counts as in a ratio
SPARE_RATIO = 1.1  # of the latency ratio seen, in the ratio that a refusal suggests to declare
# A request that was refused at the door or whose client left says nothing about a release.
WORKED_ON = ("ok", "failed")


@dataclass(frozen=True)
class Measure:
    """A mean that a worse release raises: what it is, the key of its margin, what to do."""

    name: str
    key: str
    remedy: str


FAILURES = Measure(
    "failed requests",
    "canary.max_error_rate_increase",
    "The errors are in the traffic log (data/traffic, column `error`) and in "
    ".state/serving/server.log: repair their cause",
)
REFUSALS = Measure(
    "refusing answers",
    "canary.max_refused_increase",
    "Read the refused questions in the traffic log (data/traffic). If the new release is right to "
    "refuse them, raise canary.max_refused_increase; if not, add such questions to the training "
    "examples and to the golden set",
)
UNGROUNDEDNESS = Measure(
    "lack of groundedness",
    "canary.max_groundedness_drop",
    "Its answers stand less often in the passages beside them: read some in the traffic log "
    "(data/traffic). If they are right all the same, raise canary.max_groundedness_drop",
)
THUMBS_DOWN = Measure(
    "thumbs down",
    "canary.max_thumbs_drop",
    "Users like its answers less: `python -m pipelines review` shows what they complained about. "
    "If they are wrong, raise canary.max_thumbs_drop",
)


@dataclass(frozen=True)
class ReleaseTraffic:
    """The requests of one release: rows of the traffic log, each with its `thumb` (or None)."""

    rows: list[Row]

    @classmethod
    def of_release(cls, release: str, rows: list[Row], thumbs: dict[str, int]) -> "ReleaseTraffic":
        """The rows of this release. `thumbs`: request id -> 1 or -1."""
        own = [row for row in rows if row["release_id"] == release]
        return cls([{**row, "thumb": thumbs.get(row["request_id"])} for row in own])

    def since(self, start: float) -> "ReleaseTraffic":
        """The requests that came at `start` (seconds since 1970) or later."""
        return ReleaseTraffic([row for row in self.rows if row["time"].timestamp() >= start])

    def num_worked_on(self) -> int:
        """Requests that were answered or failed."""
        return len(self.failures())

    def failures(self) -> list[float]:
        """1 for each request that failed, 0 for each that was answered."""
        statuses = [row["status"] for row in self.rows]
        return [float(status == "failed") for status in statuses if status in WORKED_ON]

    def answers(self) -> list[Row]:
        return [row for row in self.rows if row["status"] == "ok"]

    def slow_ms(self) -> float | None:
        """95th percentile of the time to the answer; None if nothing was answered."""
        times = sorted(row["total_ms"] for row in self.answers())
        return times[min(len(times) - 1, int(0.95 * len(times)))] if times else None

    def ungroundedness(self) -> list[float]:
        """1 - groundedness of each answer for which it was measured."""
        scores = [row["groundedness"] for row in self.answers()]
        return [1 - score for score in scores if score is not None]

    def refusals(self) -> list[float]:
        return [float(row["refused"]) for row in self.answers()]

    def thumbs_down(self) -> list[float]:
        """1 for each thumb down, 0 for each thumb up."""
        thumbs = [row["thumb"] for row in self.rows]
        return [float(thumb < 0) for thumb in thumbs if thumb is not None]


def judge(
    config: CanaryConfig,
    new: ReleaseTraffic,
    old: ReleaseTraffic,
    expected_latency_ratio: float | None = None,
) -> Report:
    """Every comparison with its numbers.

    Too few requests of either release is a failed check, never a pass. `expected_latency_ratio`,
    if it was declared with the release, takes the place of `canary.max_latency_ratio`.
    """
    checks = [
        _enough_requests(config, new, old),
        _compare_means(
            FAILURES, new.failures(), old.failures(), margin=config.max_error_rate_increase
        ),
        _compare_latency(config, new.slow_ms(), old.slow_ms(), expected_latency_ratio),
        _compare_means(
            REFUSALS, new.refusals(), old.refusals(), margin=config.max_refused_increase
        ),
        *_compare_groundedness(config, new.ungroundedness(), old.ungroundedness()),
    ]
    new_thumbs = new.thumbs_down()
    old_thumbs = old.thumbs_down()
    if min(len(new_thumbs), len(old_thumbs)) >= config.min_thumbs:
        limit = config.max_thumbs_drop
        checks.append(_compare_means(THUMBS_DOWN, new_thumbs, old_thumbs, margin=limit))
    return Report.of(checks)


def _enough_requests(config: CanaryConfig, new: ReleaseTraffic, old: ReleaseTraffic) -> Check:
    num_new = new.num_worked_on()
    num_old = old.num_worked_on()
    return Check(
        name="enough requests",
        code=CheckCode.ENOUGH_REQUESTS,
        passed=min(num_new, num_old) >= config.min_requests,
        observed=f"{num_new} to the new release, {num_old} to the old one in the last day",
        expected=f"at least {config.min_requests} to each (canary.min_requests)",
        remedy="Release while requests come in (`python -m pipelines simulate` sends some), or "
        "lower canary.min_requests",
    )


def _compare_groundedness(config: CanaryConfig, new: list[float], old: list[float]) -> list[Check]:
    """Compared once enough of it was measured.

    It is not measured for refusals, nor while answers wait for the processor.
    """
    enough = Check(
        name="enough answers of measured groundedness",
        code=CheckCode.ENOUGH_MEASURED,
        passed=min(len(new), len(old)) >= config.min_measured,
        observed=f"{len(new)} by the new release, {len(old)} by the old one",
        expected=f"at least {config.min_measured} by each (canary.min_measured)",
        remedy="It is not measured for refusals, nor while requests wait for the processor: "
        "release at a quieter time, or lower canary.min_measured",
    )
    if not enough.passed:
        return [enough]
    return [enough, _compare_means(UNGROUNDEDNESS, new, old, margin=config.max_groundedness_drop)]


def _compare_latency(
    config: CanaryConfig,
    new_ms: float | None,
    old_ms: float | None,
    expected_ratio: float | None,
) -> Check:
    limit = config.max_latency_ratio
    source = "canary.max_latency_ratio"
    if expected_ratio is not None:
        limit = expected_ratio
        source = "declared by --expect-latency-ratio"
    check = Check(
        name="95th percentile of the time to the answer",
        passed=False,
        observed="not measured, since one of the releases has answered nothing",
        expected=f"at most {limit:g} times the old release's ({source})",
        remedy="Failed requests have no such time: repair them first",
    )
    if new_ms is None or old_ms is None:
        return check
    ratio = new_ms / max(old_ms, SHORTEST_MS)
    changes = {
        "passed": new_ms <= old_ms * limit,
        "observed": f"{new_ms:.0f} ms against {old_ms:.0f} ms, {ratio:.3g} times",
        "remedy": _slowdown_remedy(ratio),
    }
    return check.model_copy(update=changes)


def _slowdown_remedy(ratio: float) -> str:
    """How to release a model that is meant to be slower."""
    expected_ratio = math.ceil(ratio * SPARE_RATIO)
    return (
        "If the new model is meant to be slower, declare it for this release alone: "
        f"`python -m pipelines release --expect-latency-ratio {expected_ratio} --who NAME --why "
        "TEXT`. If not, look at what else this machine was doing, or lower export.max_new_tokens"
    )


def _compare_means(measure: Measure, new: list[float], old: list[float], *, margin: float) -> Check:
    """Fails if the new mean is higher by more than the margin and by more than chance."""
    check = Check(
        name=measure.name,
        passed=False,
        observed="nothing was measured",
        expected=f"at most {margin:.1%} more ({measure.key})",
        remedy=measure.remedy,
    )
    if not new or not old:
        return check
    new_mean = sum(new) / len(new)
    old_mean = sum(old) / len(old)
    chance = _chance(new, old)
    changes: dict[str, Any] = {
        "passed": new_mean - old_mean <= max(margin, chance) + ROUNDING,
        "observed": f"{new_mean:.1%} against {old_mean:.1%}",
    }
    if chance > margin:
        reason = f"{measure.key} is {margin:.1%}, but so much may be chance"
        changes["expected"] = f"at most {chance:.1%} more ({reason})"
    return check.model_copy(update=changes)


def _chance(new: list[float], old: list[float]) -> float:
    """By how much the means may differ although the releases are equal.

    Half the width of the 95 % confidence interval of the difference in Welch's t-test (unequal
    variances): about two standard errors. 0 if a single value leaves the variance unknown, so that
    the margin alone decides.
    """
    from scipy import stats

    with warnings.catch_warnings():
        # Values that are all equal have no variance, of which SciPy warns.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = stats.ttest_ind(new, old, equal_var=False).confidence_interval(0.95)
    half_width = float(interval.high - interval.low) / 2
    return 0.0 if math.isnan(half_width) else half_width
