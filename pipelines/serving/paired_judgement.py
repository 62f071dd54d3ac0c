"""What the pairs of a shadow tell, in words and numbers."""

import math

from pipelines.config.canary import CanaryConfig
from pipelines.config.shadow import ShadowConfig
from pipelines.contracts.report import Check, Report
from pipelines.serving import comparison_texts as texts
from pipelines.serving import release_comparison as comparing
from pipelines.serving.live_comparison import Judgement
from pipelines.serving.paired_comparison import MEASURES, PairedBets, PairedComparison
from pipelines.serving.release_comparison import Measure

MAX_EXAMPLES = 3
ANSWERS = ".state/serving/shadow.jsonl"  # the answers of the last shadow, a pair a line
REMEDIES = {
    Measure.FAILURES: "The errors are there too, and in .state/serving/server.log: repair their "
    "cause",
    Measure.REFUSALS: "If the new release is right to refuse these questions, declare it: "
    "`python -m pipelines release --expect-refused-increase SHARE --who NAME --why TEXT`. If not, "
    "add such questions to the training examples and to the golden set",
    Measure.GROUNDEDNESS: "The new release's answers stand less often in the passages beside them. "
    "If they are right all the same, raise canary.limits.groundedness",
}


def odds_of_refusal(config: ShadowConfig) -> float:
    """Evidence that is enough in one of the comparisons (Bonferroni), as so many to 1."""
    return len(MEASURES) / config.false_refusal_rate


def judge(comparison: PairedComparison, config: ShadowConfig, canary: CanaryConfig) -> Judgement:
    """A check for each measure, and what is not ruled out."""
    checks = [_check(comparison, measure, config) for measure in MEASURES]
    gaps: list[str] = []
    min_odds = comparing.odds_of_harmlessness(canary)
    for measure in MEASURES:
        bets = comparison.bets[measure]
        if bets.harmless.log_odds() < math.log(min_odds):
            gaps.append(_describe_gap(bets, min_odds))
    return Judgement(Report.of(checks), gaps)


def _check(comparison: PairedComparison, measure: Measure, config: ShadowConfig) -> Check:
    bets = comparison.bets[measure]
    min_odds = odds_of_refusal(config)
    log_odds = float(bets.worse.log_odds())
    worst = comparison.worst[measure]
    passed = log_odds < math.log(min_odds)
    return Check(
        name=texts.NAMES[measure],
        passed=passed,
        observed=f"{texts.describe(bets, log_odds)}, on the same {int(bets.new.num)} questions",
        expected=texts.expectation(measure, bets.limit.tolerate, min_odds),
        examples=[] if passed else worst[:MAX_EXAMPLES],
        remedy=f"Both answers to each question are in {ANSWERS}. "
        + REMEDIES.get(measure, texts.remedy(bets)),
    )


def _describe_gap(bets: PairedBets, min_odds: float) -> str:
    harm = texts.describe_harm(bets.measure, bets.limit.find)
    evidence = math.exp(min(float(bets.harmless.log_odds()), texts.MAX_LOG_ODDS))
    return (
        f"{texts.NAMES[bets.measure]}: {harm} is not ruled out (canary.limits.{bets.measure}.find) "
        f"after {int(bets.new.num)} pairs, evidence {texts.number(evidence)} of {min_odds:.0f} to 1"
    )
