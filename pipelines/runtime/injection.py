"""Tells attempts to give the assistant other orders from questions, by weights of a release.

A logistic regression over the text's unit vector, which retrieval needs anyway, over the groups of
two to four letters in its words, and over whether an expression of guard.py matches. The vector
says what a text is about, the letters how it is said. The stage `guard` trains it.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import guard

FILE = "guard.json"
FLAG = "gives orders"
NUM_LETTER_GROUPS = 4096  # columns; groups that fall into the same one are counted together
GROUP_LENGTHS = (2, 3, 4)


class Weights(NamedTuple):
    """What guard.json holds of the classifier."""

    columns: Any  # float32, shape (dimensions + NUM_LETTER_GROUPS + 1,), as `features` has them
    bias: float
    threshold: float


def read(path: Path) -> Weights:
    """The weights in a file of the form of contracts/guard.py."""
    values = json.loads(path.read_text(encoding="utf-8"))
    columns = [*values["vector_weights"], *values["letter_weights"], values["expression_weight"]]
    return Weights(np.array(columns, dtype=np.float32), values["bias"], values["threshold"])


def features(texts: Sequence[str], vectors: Any) -> Any:
    """What the classifier sees of texts, float32, a row for each.

    Their unit vectors, their letters, and whether an expression matches.
    """
    letters = np.stack([_letters(text) for text in texts])
    matches = np.array([[guard.gives_orders(text)] for text in texts], dtype=np.float32)
    return np.hstack([np.asarray(vectors, dtype=np.float32), letters, matches])


def scores(weights: Weights, texts: Sequence[str], vectors: Any) -> Any:
    """A score for each text, shape (texts,)."""
    return features(texts, vectors) @ weights.columns + weights.bias


def is_attack(weights: Weights, text: str, vector: Any) -> bool:
    """Whether a text is to be flagged. `vector` has the shape (dimensions,)."""
    return bool(scores(weights, [text], vector[np.newaxis])[0] >= weights.threshold)


def _letters(text: str) -> Any:
    """How often each group of letters occurs, on a logarithmic scale, as a unit vector."""
    counts = np.zeros(NUM_LETTER_GROUPS, dtype=np.float32)
    for group, count in Counter(_groups(text)).items():
        counts[zlib.crc32(group.encode("utf-8", "replace")) % NUM_LETTER_GROUPS] += count
    is_there = counts > 0
    counts[is_there] = 1 + np.log(counts[is_there])
    return counts / max(float(np.linalg.norm(counts)), 1.0)


def _groups(text: str) -> Iterator[str]:
    """Groups of letters inside words, whose first and last letter have a blank beside them."""
    for word in text.lower().split():
        padded_word = f" {word} "
        for length in GROUP_LENGTHS:
            for start in range(len(padded_word) - length + 1):
                yield padded_word[start : start + length]
