"""Knows late interaction: passages ordered anew by how well their words answer the question's words.

Each word has the vector that the encoder gives it in its context; a question's word counts with its best likeness in the passage
(MaxSim of ColBERT, Khattab and Zaharia 2020). The encoder is the index's own, so that no further model is needed; it was not
trained for this, and yet it orders better than one vector a passage: tests/bench/test_retrieval.py has the numbers.
"""

from dataclasses import dataclass, field

import numpy as np

from pipelines.encoding import Encoder, Vectors


@dataclass(frozen=True)
class Reranker:
    """An encoder and the word vectors of passages that were asked for before (0.3 MB a passage of 200 tokens and 384 dimensions)."""

    encoder: Encoder
    known: dict[str, Vectors] = field(default_factory=dict)

    def order(self, question: str, texts: list[str]) -> list[int]:
        """Positions in `texts`, best first; of equally good ones the earlier first."""
        missing = sorted(set(texts) - set(self.known))
        self.known.update(zip(missing, self.encoder.words(missing), strict=True))
        (asked,) = self.encoder.words([question])
        scores = np.array([score(asked, self.known[text]) for text in texts])
        return [int(place) for place in np.argsort(-scores, kind="stable")]


def score(question: Vectors, passage: Vectors) -> float:
    """Mean over the question's words of the best cosine with a word of the passage; 0 where either has no word."""
    return float((question @ passage.T).max(axis=1).mean()) if len(question) and len(passage) else 0.0
