"""What proof and canary put on record about a release: their checks and how often they err."""

from scipy.stats import binom

from pipelines.config.canary import CanaryConfig
from pipelines.config.proof import ProofConfig
from pipelines.contracts.release_steps import StepResult
from pipelines.contracts.report import CheckCode, Report
from pipelines.decision import ledger
from pipelines.serving.canary import Outcome
from pipelines.serving.candidates import Step

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


def _error_rates_of_proof(report: Report, num_questions: int, min_same: float) -> list[str]:
    """Nothing is left to chance but which questions are asked."""
    codes = [check.code for check in report.checks]
    if CheckCode.SAME_ANSWERS not in codes:
        return []  # nothing was answered
    max_different = int(num_questions * (1 - min_same) + 1e-9)
    overlooked = float(binom.cdf(max_different, num_questions, DIFFERENT_SHARE))
    return [
        "The same release gives the same answers, so it is refused only if the server or the index "
        f"is another. A release that answers {DIFFERENT_SHARE:.0%} of all questions differently "
        f"passes with a chance of {overlooked:.2%}, since {num_questions} were asked "
        "(proof.num_questions)."
    ]
