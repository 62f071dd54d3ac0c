"""The rule by which a canary was judged until November 2026, kept for the comparison alone.

Each step was judged once, as soon as the new release had answered enough requests in it: all its
requests since the switch began against the old release's of the last day, by Welch's t-test at 95 %
for each measure.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipelines.serving.release_comparison import Measure
from pipelines.serving.sequential_test import Numbers

MARGINS = {
    Measure.FAILURES: 0.02,
    Measure.REFUSALS: 0.1,
    Measure.GROUNDEDNESS: 0.1,
    Measure.THUMBS: 0.1,
}
MAX_LATENCY_RATIO = 1.5
MIN_THUMBS = 20


@dataclass(frozen=True)
class Minimums:
    """`canary.min_requests` and `canary.min_measured` of the rule."""

    num_requests: int = 50
    num_measured: int = 20


def is_refused(
    new: dict[Measure, Numbers], old: dict[Measure, Numbers], minimums: Minimums
) -> bool:
    """Whether a step was the last one: the release was worse, or too few requests had come."""
    has_enough = (
        min(_present(new, Measure.FAILURES).size, _present(old, Measure.FAILURES).size)
        >= minimums.num_requests
        and min(_present(new, Measure.GROUNDEDNESS).size, _present(old, Measure.GROUNDEDNESS).size)
        >= minimums.num_measured
    )
    if not has_enough or _is_slower(new, old):
        return True
    for measure, margin in MARGINS.items():
        news = _present(new, measure)
        olds = _present(old, measure)
        is_compared = measure is not Measure.THUMBS or min(news.size, olds.size) >= MIN_THUMBS
        if is_compared and news.mean() - olds.mean() > max(margin, _chance(news, olds)) + 1e-9:
            return True
    return False


def _present(values: dict[Measure, Numbers], measure: Measure) -> Numbers:
    column = values[measure]
    return column[~np.isnan(column)]


def _is_slower(new: dict[Measure, Numbers], old: dict[Measure, Numbers]) -> bool:
    limits: list[float] = []
    for values in (new, old):
        times = np.sort(np.exp(_present(values, Measure.LATENCY)))
        limits.append(times[min(times.size - 1, int(0.95 * times.size))])
    return bool(limits[0] > limits[1] * MAX_LATENCY_RATIO)


def _chance(news: Numbers, olds: Numbers) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = stats.ttest_ind(news, olds, equal_var=False).confidence_interval(0.95)
    half_width = float(interval.high - interval.low) / 2
    return 0.0 if np.isnan(half_width) else half_width
