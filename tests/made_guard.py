"""A guard for assistants in tests: it flags what an expression of runtime/guard.py matches."""

from pipelines.contracts.guard import Guard
from pipelines.runtime import injection


def make(encoder_digest: str, dimensions: int) -> Guard:
    return Guard(
        encoder="mini",
        encoder_digest=encoder_digest,
        precision="fp32",
        vector_weights=[0.0] * dimensions,
        letter_weights=[0.0] * injection.NUM_LETTER_GROUPS,
        expression_weight=1.0,
        bias=0.0,
        threshold=0.5,
    )
