"""Finds out below which confidence an answer is withheld, on questions that training never saw."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.config.answer import AnswerConfig
from pipelines.contracts.calibration import Calibration
from pipelines.decision import scoring
from pipelines.runtime import comparison, support
from pipelines.runtime.generation import Answer
from pipelines.runtime.withholding import Limits
from pipelines.vectorstore import Encoder

MIN_F1 = 0.5  # from which an answer counts as right
SIGNALS = ("log_probability", "support", "similarity")


class Trial(NamedTuple):
    """An answer to a validation question that is no refusal, and its signals."""

    is_right: bool
    log_probability: float
    support: float
    similarity: float  # cosine of the answer with the nearest sentence of a passage


def limits_of(calibration: Calibration) -> Limits | None:
    """None if nothing is withheld."""
    if calibration.refusal is None or calibration.min_support is None:
        return None
    return Limits(
        refusal=calibration.refusal,
        min_support=calibration.min_support,
        min_log_probability=calibration.min_log_probability,
    )


def without_passages() -> Calibration:
    """For a template that shows no passages: nothing can be supported, so nothing is withheld."""
    return Calibration(
        refusal=None,
        min_support=None,
        min_log_probability=None,
        num_right=0,
        num_wrong=0,
        num_refused=0,
        signals={},
    )


def calibrate(
    config: AnswerConfig, refusal: str, trials: Sequence[Trial], num_refused: int
) -> Calibration:
    """The smallest confidence that is let through.

    At most `answer.max_false_refusals` of the right answers lie below it.
    """
    right = [trial.log_probability for trial in trials if trial.is_right]
    threshold = None
    if right:
        # Rounded down, so that the answer at the limit itself is given.
        quantile = np.quantile(right, config.max_false_refusals, method="lower")
        threshold = float(np.floor(quantile * 1e6) / 1e6)
    return Calibration(
        refusal=refusal,
        min_support=config.min_support,
        min_log_probability=threshold,
        num_right=len(right),
        num_wrong=len(trials) - len(right),
        num_refused=num_refused,
        signals={name: _area(trials, name) for name in SIGNALS},
    )


def try_answers(
    rows: Sequence[dict[str, Any]], answers: Sequence[Answer], refusals: set[str], encoder: Encoder
) -> list[Trial]:
    """The trials of all answers that are no refusals.

    `rows` are validation examples, with `completion`, `kind` and `passages`; `refusals` are
    normalized.
    """
    trials: list[Trial] = []
    for row, answer in zip(rows, answers, strict=True):
        if comparison.normalize(answer.text) in refusals:
            continue
        is_answerable = row["kind"] in ("faq", "document")
        f1 = scoring.token_f1(answer.text, row["completion"])
        passages = list(row["passages"])
        trial = Trial(
            is_right=is_answerable and f1 >= MIN_F1,
            log_probability=answer.mean_log_probability,
            support=support.measure(answer.text, passages).share,
            similarity=_similarity(answer.text, passages, encoder),
        )
        trials.append(trial)
    return trials


def _similarity(answer: str, passages: Sequence[str], encoder: Encoder) -> float:
    sentences: list[str] = []
    for passage in passages:
        sentences += comparison.sentences(passage)
    if not sentences:
        return 0.0
    vectors = encoder.lookup([answer, *sentences])
    return max(float(vectors[sentence] @ vectors[answer]) for sentence in sentences)


def _area(trials: Sequence[Trial], signal: str) -> float | None:
    """Area under the ROC curve (Fawcett 2006) of one signal."""
    from sklearn.metrics import roc_auc_score

    labels = [trial.is_right for trial in trials]
    if len(set(labels)) < 2:
        return None
    values = [getattr(trial, signal) for trial in trials]
    return round(float(roc_auc_score(labels, values)), 4)
