"""Compares what two releases did on live traffic."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

from pipelines.config.canary import CanaryConfig
from pipelines.contracts.report import Check, CheckCode, Report

Row = dict[str, Any]
ROUNDING = 1e-9
# A request that was refused at the door or whose client left says nothing about a release.
WORKED_ON = ("ok", "failed")


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


def judge(config: CanaryConfig, new: ReleaseTraffic, old: ReleaseTraffic) -> Report:
    """Every comparison with its numbers.

    Too few requests of either release is a failed check, never a pass.
    """
    checks = [
        _enough_requests(config, new, old),
        _compare_means(
            "failed requests", new.failures(), old.failures(), config.max_error_rate_increase
        ),
        _compare_latency(config, new.slow_ms(), old.slow_ms()),
        _compare_means(
            "refusing answers", new.refusals(), old.refusals(), config.max_refused_increase
        ),
        *_compare_groundedness(config, new.ungroundedness(), old.ungroundedness()),
    ]
    new_thumbs = new.thumbs_down()
    old_thumbs = old.thumbs_down()
    if min(len(new_thumbs), len(old_thumbs)) >= config.min_thumbs:
        limit = config.max_thumbs_drop
        checks.append(_compare_means("thumbs down", new_thumbs, old_thumbs, limit))
    return Report.of(checks)


def _enough_requests(config: CanaryConfig, new: ReleaseTraffic, old: ReleaseTraffic) -> Check:
    num_new = new.num_worked_on()
    num_old = old.num_worked_on()
    return Check(
        name="enough requests",
        code=CheckCode.ENOUGH_REQUESTS,
        passed=min(num_new, num_old) >= config.min_requests,
        observed=f"{num_new} by the new, {num_old} by the old release",
        expected=f"at least {config.min_requests} of each",
    )


def _compare_groundedness(config: CanaryConfig, new: list[float], old: list[float]) -> list[Check]:
    """Compared once enough of it was measured.

    It is not measured for refusals, nor while answers wait for the processor.
    """
    num_measured = min(len(new), len(old))
    enough = Check(
        name="enough answers of measured groundedness",
        code=CheckCode.ENOUGH_MEASURED,
        passed=num_measured >= config.min_measured,
        observed=str(num_measured),
        expected=f"at least {config.min_measured} of each",
    )
    if not enough.passed:
        return [enough]
    limit = config.max_groundedness_drop
    return [enough, _compare_means("lack of groundedness", new, old, limit)]


def _compare_latency(config: CanaryConfig, new_ms: float | None, old_ms: float | None) -> Check:
    name = "95th percentile of the time to the answer"
    limit = f"at most {config.max_latency_ratio} times"
    if new_ms is None or old_ms is None:
        problem = "not measured: one of them answered nothing"
        return Check(name=name, passed=False, observed=problem, expected=limit)
    return Check(
        name=name,
        passed=new_ms <= old_ms * config.max_latency_ratio,
        observed=f"{new_ms:.0f} ms against {old_ms:.0f} ms",
        expected=limit,
    )


def _compare_means(name: str, new: list[float], old: list[float], margin: float) -> Check:
    """Fails if the new mean is higher by more than the margin and by more than chance."""
    if not new or not old:
        return Check(
            name=name,
            passed=False,
            observed="nothing was measured",
            expected=f"at most {margin:.1%} more",
        )
    new_mean = sum(new) / len(new)
    old_mean = sum(old) / len(old)
    limit = max(margin, _chance(new, old))
    return Check(
        name=name,
        passed=new_mean - old_mean <= limit + ROUNDING,
        observed=f"{new_mean:.1%} against {old_mean:.1%}",
        expected=f"at most {limit:.1%} more",
    )


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
