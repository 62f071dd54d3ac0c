"""Knows how alike two questions are worded, and how to make a further wording by leaving out words."""

import random
import re

import numpy as np

BLOCK = 1024


def normal(text: str) -> str:
    """Lower case, words and single spaces alone."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def grams(text: str, size: int = 4) -> frozenset[str]:
    """Character n-grams of the normal form, with its borders."""
    padded = f" {normal(text)} "
    return frozenset(padded[start : start + size] for start in range(max(1, len(padded) - size + 1)))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Share of common elements (Jaccard 1901), 0 to 1."""
    return len(left & right) / len(left | right) if left or right else 1.0


def most_alike(questions: list[str], others: list[str]) -> list[tuple[float, str]]:
    """For each question, the similarity to the other most alike (of equal ones the last in order), and that other. Equal normal forms give 1.

    Common n-grams of all pairs are counted by a product of sparse 0/1 matrices, questions in blocks of `BLOCK`.
    """
    if not questions or not others:
        return [(0.0, "")] * len(questions)
    from sklearn.feature_extraction.text import CountVectorizer

    ordered = sorted(set(others), reverse=True)
    counter = CountVectorizer(analyzer=grams, dtype="int32")
    theirs = counter.fit_transform(ordered)
    sizes = theirs.sum(axis=1).A1
    found = []
    for start in range(0, len(questions), BLOCK):
        block = questions[start : start + BLOCK]
        common = (counter.transform(block) @ theirs.T).toarray()
        likeness = common / (np.array([len(grams(question)) for question in block])[:, None] + sizes - common)
        best = likeness.argmax(axis=1)
        found += [(float(row[place]), ordered[place]) for row, place in zip(likeness, best, strict=True)]
    return found


def variant(question: str, dropout: float, dice: random.Random) -> str:
    """The question without some of its words; never empty."""
    words = question.split()
    kept = [word for word in words if dice.random() >= dropout]
    return " ".join(kept or words)
