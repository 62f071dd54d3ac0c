"""How similar two questions are worded, and further wordings of a question."""

import random
import re
from typing import NamedTuple

import numpy as np

BLOCK = 1024  # questions compared at a time


class Match(NamedTuple):
    """The question worded most like another, and how like it is (0 to 1)."""

    similarity: float
    question: str


def normal(text: str) -> str:
    """The words in lower case, separated by single spaces."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def grams(text: str, size: int = 4) -> frozenset[str]:
    """Character n-grams of the normal form, including its borders."""
    words = f" {normal(text)} "
    num_grams = max(1, len(words) - size + 1)
    return frozenset(words[start : start + size] for start in range(num_grams))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Share of common elements (Jaccard 1901), 0 to 1; two empty sets are the same."""
    union = first | second
    return len(first & second) / len(union) if union else 1.0


def most_alike(questions: list[str], candidates: list[str]) -> list[Match]:
    """For each question its best match; of equally good ones the last in alphabetical order.

    Questions of the same normal form have similarity 1. The common n-grams of all pairs are counted
    by a product of sparse 0/1 matrices, for `BLOCK` questions at a time.
    """
    if not questions or not candidates:
        return [Match(0.0, "")] * len(questions)
    from sklearn.feature_extraction.text import CountVectorizer

    unique_candidates = sorted(set(candidates), reverse=True)
    counter = CountVectorizer(analyzer=grams, dtype="int32")
    candidate_counts = counter.fit_transform(unique_candidates)
    candidate_sizes = candidate_counts.sum(axis=1).A1
    matches = []
    for start in range(0, len(questions), BLOCK):
        block = questions[start : start + BLOCK]
        sizes = np.array([len(grams(question)) for question in block])[:, None]
        common = (counter.transform(block) @ candidate_counts.T).toarray()
        similarities = common / (sizes + candidate_sizes - common)
        for row, best in zip(similarities, similarities.argmax(axis=1), strict=True):
            matches.append(Match(float(row[best]), unique_candidates[best]))
    return matches


def variant(question: str, dropout: float, dice: random.Random) -> str:
    """The question without a random share of its words; never empty."""
    words = question.split()
    remaining = [word for word in words if dice.random() >= dropout]
    return " ".join(remaining or words)
