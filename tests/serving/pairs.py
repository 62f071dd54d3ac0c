"""Answers of two releases to the same questions."""

import random
from typing import Any

from pipelines.serving.paired_comparison import Pair
from tests.serving.routed_rows import GOOD, Change

ANSWER: dict[str, Any] = {
    **GOOD,
    "answer": "The gate refuses a worse candidate.",
    "guard_flags": [],
    "num_new_tokens": 8,
}


def pairs(count: int, change: Change = lambda number: {}, tenant: str = "default") -> list[Pair]:
    """Pairs whose times vary by some tenths; what the new release does is changed."""
    dice = random.Random(7)
    answers: list[Pair] = []
    for number in range(count):
        old = {**ANSWER, "total_ms": 100 * dice.uniform(0.8, 1.2)}
        new = {**ANSWER, "total_ms": 100 * dice.uniform(0.8, 1.2), **change(number)}
        answers.append(Pair(f"question {number}?", tenant, old, new))
    return answers
