"""What the gate could have seen: how large a difference its rules find.

A rule looks at an end of a 95 % interval, which lies 1.96 standard errors from the mean. It finds a
difference in 8 of 10 cases if that is another 0.84 standard errors away (Cohen 1988).
"""

from statistics import NormalDist

from pipelines.config.gate import GateConfig
from pipelines.contracts.scores import CANDIDATE, CHAMPION, Interval, Scores

END = NormalDist().inv_cdf(0.975)
EIGHT_OF_TEN = NormalDist().inv_cdf(0.8)
MISSING = Interval(value=None, low=None, high=None, num=0)


def describe(config: GateConfig, scores: Scores) -> list[str]:
    """A sentence for each floor and each comparison with the champion that was measured."""
    lines: list[str] = []
    candidate = scores.systems.get(CANDIDATE)
    for metric, floor in config.floors.items():
        interval = candidate.metrics.get(metric, MISSING) if candidate else MISSING
        if _is_measured(interval):
            lines.append(_describe_floor(metric, floor, interval))
    for metric in config.champion_metrics:
        interval = scores.differences.get(CHAMPION, {}).get(metric, MISSING)
        if _is_measured(interval):
            lines.append(_describe_margin(metric, config.champion_margin, interval))
    return lines


def _is_measured(interval: Interval) -> bool:
    return interval.low is not None and interval.high is not None


def _describe_floor(metric: str, floor: float, interval: Interval) -> str:
    level = floor + (END + EIGHT_OF_TEN) * _standard_error(interval)
    reach = f"at {level:.2f}" if level < 1 else "at no value"
    return (
        f"{metric}, {interval.num} questions: a model passes the floor {floor:g} 8 times of 10 "
        f"{reach}, and 1 time of 40 at {floor:g}"
    )


def _describe_margin(metric: str, margin: float, interval: Interval) -> str:
    error = _standard_error(interval)
    drop = margin - (END - EIGHT_OF_TEN) * error
    false_refusals = 1 - NormalDist().cdf(margin / error - END) if error else 0.0
    return (
        f"{metric} against the champion, {interval.num} questions: a drop of {max(drop, 0):.3f} is "
        "found 8 times of 10, and a model that is as good, but as different topic by topic, is "
        f"refused {_chance(false_refusals)}"
    )


def _chance(share: float) -> str:
    if share > 0.5:
        return "more often than not"
    return f"1 time of {1 / share:.0f}" if share > 0.001 else "less than 1 time of 1000"


def _standard_error(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return (interval.high - interval.low) / (2 * END)
