"""What people read about a comparison of two releases: names, numbers, remedies."""

import math
from typing import Protocol

from pipelines.serving.release_comparison import Comparison, Measure, Tally

SPARE_RATIO = 1.1  # of the latency ratio seen, in the ratio that a refusal suggests to declare
MAX_LOG_ODDS = math.log(1e6)  # beyond this the number tells nothing more
NAMES = {
    Measure.FAILURES: "failed requests",
    Measure.LATENCY: "time to the answer",
    Measure.REFUSALS: "refusing answers",
    Measure.GROUNDEDNESS: "lack of groundedness",
    Measure.THUMBS: "thumbs down",
}
REMEDIES = {
    Measure.FAILURES: "The errors are in the traffic log (data/traffic, column `error`) and in "
    ".state/serving/server.log: repair their cause",
    Measure.REFUSALS: "Read the refused questions in the traffic log (data/traffic). If the new "
    "release is right to refuse them, declare it: `python -m pipelines release "
    "--expect-refused-increase SHARE --who NAME --why TEXT`. If not, add such questions to the "
    "training examples and to the golden set",
    Measure.GROUNDEDNESS: "Its answers stand less often in the passages beside them: read some in "
    "the traffic log (data/traffic). If they are right all the same, raise "
    "canary.limits.groundedness",
    Measure.THUMBS: "Users like its answers less: `python -m pipelines review` shows what they "
    "complained about. If they are wrong, raise canary.limits.thumbs",
}


class Tallies(Protocol):
    """The values of both releases in one measure."""

    @property
    def measure(self) -> Measure: ...

    @property
    def new(self) -> Tally: ...

    @property
    def old(self) -> Tally: ...


def share(tally: Tally) -> str:
    if not tally.num:
        return "none measured"
    return f"{tally.mean():.1%} of {int(tally.num)}"


def odds(log_odds: float) -> str:
    """How strong the evidence is; below 1 to 1 it speaks for the release."""
    if log_odds > MAX_LOG_ODDS:
        return "evidence that it is worse: more than a million to 1"
    return f"evidence that it is worse: {number(math.exp(log_odds))} to 1"


def number(evidence: float) -> str:
    """Odds as people write them: 0.31, 7.9, 790."""
    return f"{evidence:.2g}" if evidence < 10 else f"{evidence:,.0f}"


def describe(comparison: Tallies, log_odds: float) -> str:
    """Both releases' numbers and what they are worth."""
    if comparison.measure is not Measure.LATENCY:
        numbers = f"{share(comparison.new)} against {share(comparison.old)}"
    elif _is_measured(comparison):
        new_ms = math.exp(comparison.new.mean())
        old_ms = math.exp(comparison.old.mean())
        numbers = (
            f"typically {new_ms:.0f} ms against {old_ms:.0f} ms, {_ratio(comparison):.3g} times"
        )
    else:
        numbers = "one of the releases has answered nothing"
    return f"{numbers}; {odds(log_odds)}"


def describe_gap(comparison: Comparison, min_odds: float) -> str:
    """What is not ruled out, and how far the evidence has come."""
    measure = comparison.measure
    harm = describe_harm(measure, comparison.limit.find)
    evidence = math.exp(min(float(comparison.harmless.evidence.log_odds()), MAX_LOG_ODDS))
    return (
        f"{NAMES[measure]}: {harm} is not ruled out (canary.limits.{measure}.find) after "
        f"{int(comparison.new.num)} values of the new release and {int(comparison.old.num)} of the "
        f"old one, evidence {number(evidence)} of {min_odds:.0f} to 1"
    )


def describe_harm(measure: Measure, find: float) -> str:
    return f"{find:g} times as long" if measure is Measure.LATENCY else f"{find:.0%} more"


def expectation(measure: Measure, tolerate: float, min_odds: float) -> str:
    """What a new release must keep not to be stopped."""
    more = f"{tolerate:g} times" if measure is Measure.LATENCY else f"{tolerate:.1%} more"
    return (
        f"at most {more} (canary.limits.{measure}.tolerate), or evidence below {min_odds:.0f} to 1"
    )


def remedy(comparison: Tallies) -> str:
    if comparison.measure is not Measure.LATENCY:
        return REMEDIES[comparison.measure]
    expected_ratio = math.ceil(_ratio(comparison) * SPARE_RATIO) if _is_measured(comparison) else 2
    return (
        "If the new model is meant to be slower, declare it for this release alone: "
        f"`python -m pipelines release --expect-latency-ratio {expected_ratio} --who NAME --why "
        "TEXT`. If not, look at what else this machine was doing, or lower export.max_new_tokens"
    )


def _is_measured(comparison: Tallies) -> bool:
    return bool(comparison.new.num) and bool(comparison.old.num)


def _ratio(comparison: Tallies) -> float:
    return math.exp(comparison.new.mean() - comparison.old.mean())
