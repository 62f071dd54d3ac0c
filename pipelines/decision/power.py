"""What the gate could have seen: how large a difference its rules find.

A rule looks at an end of a 95 % interval, which lies 1.96 standard errors from the mean. It finds a
difference in 8 of 10 cases if that is another 0.84 standard errors away (Cohen 1988).

Near 0 and 1 a share is skewed, and its error depends on the share itself. So for floors both
distances are those of a binomial share of as many independent questions as would give the interval
that was measured (Jeffreys' interval; Brown, Cai and DasGupta 2001). For all of this see
tests/bench/test_gate_power.py, which compares it with simulated candidates.
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


def independent_questions(interval: Interval) -> float | None:
    """How many independent questions would tell as much; None if all answers are alike.

    By the lower half of the interval, which is the one that a floor looks at.
    """
    assert interval.value is not None
    assert interval.low is not None
    error = (interval.value - interval.low) / END
    return interval.value * (1 - interval.value) / error**2 if error else None


def level_that_passes(floor: float, num: float) -> float:
    """How good a model is whose interval lies above the floor 8 times of 10.

    `num`: of independent questions.
    """
    return _quantile(_quantile(floor, num, 0.975), num, 0.8)


def chance_at_floor(floor: float, num: float) -> float:
    """How often a model passes that is as good as the floor, but no better."""
    from scipy.special import betainc

    share = _quantile(floor, num, 0.975)
    return float(betainc(num * share + 0.5, num * (1 - share) + 0.5, floor))


def _quantile(share: float, num: float, probability: float) -> float:
    """Of the level behind an observed share (Jeffreys' prior)."""
    from scipy.special import betaincinv

    return float(betaincinv(num * share + 0.5, num * (1 - share) + 0.5, probability))


def drop_that_fails(margin: float, interval: Interval) -> float:
    """By how much a candidate must be worse than the champion to be refused 8 times of 10.

    `interval`: of a difference between two models over as many questions. Negative: even a
    candidate that is so much better is refused as often.
    """
    return margin - (END - EIGHT_OF_TEN) * _standard_error(interval)


def chance_of_false_refusal(margin: float, interval: Interval) -> float:
    """How often a candidate is refused that is as good as the champion."""
    error = _standard_error(interval)
    return 1 - NormalDist().cdf(margin / error - END) if error else 0.0


def _is_measured(interval: Interval) -> bool:
    return interval.low is not None and interval.high is not None


def _describe_floor(metric: str, floor: float, interval: Interval) -> str:
    num = independent_questions(interval)
    subject = f"{metric}, {interval.num} questions"
    if num is None or not 0 < floor < 1:
        return f"{subject}: all are alike, so how often a model passes the floor {floor:g} is open"
    chance = _chance(chance_at_floor(floor, num))
    return (
        f"{subject}: a model passes the floor {floor:g} 8 times of 10 at "
        f"{level_that_passes(floor, num):.2f}, and {chance} at {floor:g}"
    )


def _describe_margin(metric: str, margin: float, interval: Interval) -> str:
    drop = drop_that_fails(margin, interval)
    return (
        f"{metric} against the champion, {interval.num} questions: a drop of {max(drop, 0):.3f} is "
        "found 8 times of 10, and a model that is as good, but as different topic by topic, is "
        f"refused {_chance(chance_of_false_refusal(margin, interval))}"
    )


def _chance(share: float) -> str:
    if share > 0.5:
        return "more often than not"
    return f"1 time of {1 / share:.0f}" if share > 0.001 else "less than 1 time of 1000"


def _standard_error(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return (interval.high - interval.low) / (2 * END)
