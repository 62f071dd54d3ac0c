import pytest

from pipelines.runtime import withholding
from pipelines.runtime.withholding import Limits, Reason

PASSAGES = ["The gate refuses a worse candidate."]
LIMITS = Limits(refusal="Not there.", min_support=0.75, min_log_probability=-0.5)


@pytest.mark.parametrize(
    ("answer", "log_probability", "reason"),
    [
        ("a worse candidate", -0.1, None),
        ("a worse candidate", -0.5, None),
        ("a worse candidate", -0.51, Reason.UNSURE),
        ("a better candidate", -0.1, Reason.UNSUPPORTED),
        ("a better candidate", -0.9, Reason.UNSUPPORTED),
        ("a worse candidate", None, None),  # the engine does not tell
        ("a better candidate", None, Reason.UNSUPPORTED),
    ],
)
def test_an_answer_leaves_if_the_passages_support_it_and_the_model_is_sure(
    answer: str, log_probability: float | None, reason: Reason | None
) -> None:
    assert withholding.reason(answer, log_probability, PASSAGES, LIMITS) is reason


def test_without_a_calibrated_limit_support_alone_decides() -> None:
    limits = LIMITS._replace(min_log_probability=None)
    assert withholding.reason("a worse candidate", -9.0, PASSAGES, limits) is None
    assert withholding.reason("a zebra", -0.1, PASSAGES, limits) is Reason.UNSUPPORTED
