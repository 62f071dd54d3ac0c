"""Decides whether an answer may leave: it must be supported by the passages, and the model be sure.

Used by calibration, evaluation and serving alike.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from . import comparison, support


class Reason(StrEnum):
    """Why an answer is withheld; also a flag in the traffic log."""

    UNSUPPORTED = "withheld_unsupported"
    UNSURE = "withheld_unsure"


class Limits(NamedTuple):
    """What an answer must reach, and what is said in its stead."""

    refusal: str
    min_support: float  # share of the words of each sentence that one passage has
    # Mean over the answer's tokens, natural logarithm; None: not looked at.
    min_log_probability: float | None


def finds_nothing(answer: str, limits: Limits | None) -> bool:
    """Whether an answer says that the passages hold none.

    A canonical refusal of the FAQ is an answer, and a model without limits never says so.
    """
    if limits is None:
        return False
    return comparison.normalize(answer) == comparison.normalize(limits.refusal)


def reason(
    answer: str, log_probability: float | None, passages: Sequence[str], limits: Limits
) -> Reason | None:
    """Why an answer is withheld; None if it may leave.

    `log_probability` is None if the engine does not tell it: then support alone decides.
    """
    if support.measure(answer, passages).share < limits.min_support:
        return Reason.UNSUPPORTED
    if log_probability is None or limits.min_log_probability is None:
        return None
    return Reason.UNSURE if log_probability < limits.min_log_probability else None
