"""What the steps of a release put on record: their checks, their curves, how often they err."""

from scipy.stats import binom

from pipelines.config.canary import CanaryConfig
from pipelines.config.proof import ProofConfig
from pipelines.contracts.release_steps import Plot, StepResult
from pipelines.contracts.report import CheckCode, Report
from pipelines.decision import ledger
from pipelines.serving import comparison_texts as texts
from pipelines.serving import evidence_curves, paired_judgement, shadow
from pipelines.serving import release_comparison as comparing
from pipelines.serving.canary import Outcome
from pipelines.serving.candidates import Step
from pipelines.serving.evidence_curves import LogOdds, Thresholds
from pipelines.serving.experiment_findings import Findings
from pipelines.serving.paired_comparison import PairedComparison

DIFFERENT_SHARE = 0.05  # of answers, in the example of what the proof overlooks


def of_proof(report: Report, config: ProofConfig, num_answers: int) -> StepResult:
    """`num_answers`: of evaluate's that could be asked for."""
    num_questions = min(config.num_questions, num_answers)
    return StepResult(
        step=Step.PROOF,
        when=ledger.now(),
        passed=report.passed,
        reason=report.reason,
        checks=report.checks,
        error_rates=_error_rates_of_proof(report, num_questions, config.min_same_answers),
    )


def of_canary(outcome: Outcome, config: CanaryConfig) -> StepResult:
    return StepResult(
        step=Step.CANARY,
        when=ledger.now(),
        passed=outcome.report.passed,
        reason=outcome.report.reason,
        checks=outcome.report.checks,
        undecided=outcome.gaps,
        error_rates=[
            "A release that is worse in nothing by more than is tolerated is rolled back with a "
            f"chance of at most {config.false_rollback_rate:.2%}, over all comparisons and however "
            "often one looks (canary.false_rollback_rate).",
            "A release that is worse in a comparison by what must be found passes in it as good "
            f"with a chance of at most {config.miss_rate:.2%} (canary.miss_rate); what is "
            "undecided was not ruled out.",
        ],
        plots=outcome.plots,
    )


def of_shadow(result: shadow.Shadow, config: shadow.Config) -> StepResult:
    report = result.outcome.report
    numbers = result.comparison.descriptions.describe()
    return StepResult(
        step=Step.SHADOW,
        when=ledger.now(),
        passed=report.passed,
        reason=f"{report.reason}; {numbers}",
        checks=report.checks,
        undecided=result.outcome.gaps,
        error_rates=[
            "A release that is worse in nothing by more than is tolerated is stopped with a chance "
            f"of at most {config.shadow.false_refusal_rate:.2%}, over all comparisons and however "
            "often one looks (shadow.false_refusal_rate).",
            "What the pairs do not find is left to the canary.",
        ],
        plots=_plots_of_pairs(result.comparison, config),
    )


def of_experiment(findings: Findings, keep: str) -> StepResult:
    """`keep`: the release that a person chose, `old` or `new`."""
    config = findings.experiment.config
    return StepResult(
        step=Step.EXPERIMENT,
        when=ledger.now(),
        passed=keep == "new",
        reason=f"a person keeps the {keep} release; {findings.describe()}",
        checks=findings.guard_rails.checks,
        error_rates=[
            "The true difference ever leaves the interval with a chance of at most "
            f"{1 - config.confidence:.2%}, however often one looks (experiment.confidence)."
        ],
    )


def _plots_of_pairs(comparison: PairedComparison, config: shadow.Config) -> list[Plot]:
    """Each measure's evidence over the pairs; none before the first."""
    thresholds = Thresholds(
        paired_judgement.odds_of_refusal(config.shadow),
        comparing.odds_of_harmlessness(config.canary),
    )
    plots: list[Plot] = []
    for measure, looks in comparison.looks.items():
        seen = [(look.num_pairs, LogOdds(look.worse, look.harmless)) for look in looks]
        if seen:
            plots.append(evidence_curves.draw(texts.NAMES[measure], "pairs", seen, thresholds))
    return plots


def _error_rates_of_proof(report: Report, num_questions: int, min_same: float) -> list[str]:
    """Nothing is left to chance but which questions are asked."""
    codes = [check.code for check in report.checks]
    if CheckCode.SAME_ANSWERS not in codes:
        return []  # nothing was answered
    max_different = int(num_questions * (1 - min_same) + 1e-9)
    miss_chance = float(binom.cdf(max_different, num_questions, DIFFERENT_SHARE))
    return [
        "The same release gives the same answers, so it is refused only if the server or the index "
        f"is another. A release that answers {DIFFERENT_SHARE:.0%} of all questions differently "
        f"passes with a chance of {miss_chance:.2%}, since {num_questions} were asked "
        "(proof.num_questions)."
    ]
