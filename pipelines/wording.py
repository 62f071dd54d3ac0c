"""Knows how alike two questions are worded, and how to make a further wording by leaving out words."""

import random
import re


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
    """For each question, the similarity to the other most alike, and that other. Equal normal forms give 1."""
    sets = [(grams(other), other) for other in others]
    found = []
    for question in questions:
        own = grams(question)
        found.append(max(((jaccard(own, theirs), other) for theirs, other in sets), default=(0.0, "")))
    return found


def variant(question: str, dropout: float, dice: random.Random) -> str:
    """The question without some of its words; never empty."""
    words = question.split()
    kept = [word for word in words if dice.random() >= dropout]
    return " ".join(kept or words)
