"""Late interaction: puts the best passages of a search in the order of how well they answer.

Each word of a text has the vector that the encoder gives it in its context. A question's word
counts with its best cosine in the passage (MaxSim of ColBERT, Khattab and Zaharia 2020). The
encoder is the index's own, so that no further model is needed. tests/bench/test_retrieval.py
measures what it gives. Evaluation and Triton take the same order from here.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NUM_REORDERED = 10  # best passages of a search; 20 give the same first three and cost twice as much
MAX_TEXTS_KEPT = 500  # whose word vectors stay in memory: 0.3 MB each at 200 tokens, 384 dimensions


def num_candidates(limit: int, weight: float) -> int:
    """Passages to search for if `limit` are wanted."""
    return max(limit, NUM_REORDERED) if weight > 0 else limit


def passage_text(headings: Sequence[str], text: str) -> str:
    """What stands for a passage: its headings and its text."""
    return " > ".join(headings) + "\n" + text


def score(question: Any, passage: Any) -> float:
    """Mean over the question's words of the best cosine with a word of the passage.

    Both are unit vectors, shape (words, dimensions). 0 if either has no word.
    """
    if not len(question) or not len(passage):
        return 0.0
    return float((question @ passage.T).max(axis=1).mean())


def order(scores: Sequence[float], weight: float) -> list[int]:
    """Positions of passages, best first, from their scores in the order of the search.

    Place in the search and score are both scaled to 0..1 and added, the score with `weight`, the
    place with the rest. Of equally good ones the earlier comes first. Passages beyond NUM_REORDERED
    have no score and stay where they are.
    """
    values = np.asarray(scores[:NUM_REORDERED], dtype=np.float64)
    if weight == 0 or len(values) == 0:
        return list(range(len(values)))
    spread = values.max() - values.min()
    score_shares = (values - values.min()) / spread if spread else np.zeros_like(values)
    place_shares = 1 - np.arange(len(values)) / len(values)
    totals = (1 - weight) * place_shares + weight * score_shares
    return [int(position) for position in np.argsort(-totals, kind="stable")]


@dataclass
class WordVectors:
    """The word vectors of texts; those asked for last are kept.

    `encode` turns texts into one array each, shape (words, dimensions).
    """

    encode: Callable[[list[str]], list[Any]]
    max_texts: int = MAX_TEXTS_KEPT
    by_text: OrderedDict[str, Any] = field(default_factory=OrderedDict)

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """The score of each text for the question."""
        vectors = self.of([question, *texts])
        return [score(vectors[question], vectors[text]) for text in texts]

    def of(self, texts: Sequence[str]) -> dict[str, Any]:
        """Text -> word vectors."""
        missing = sorted(set(texts) - set(self.by_text))
        if missing:
            self.by_text.update(zip(missing, self.encode(missing), strict=True))
        vectors: dict[str, Any] = {}
        for text in texts:
            vectors[text] = self.by_text[text]
            self.by_text.move_to_end(text)
        while len(self.by_text) > self.max_texts:
            self.by_text.popitem(last=False)
        return vectors
