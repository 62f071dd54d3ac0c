"""Reranking by late interaction: how well a passage's words answer the question's words.

Each word has the vector that the encoder gives it in its context. A question's word counts with
its best cosine in the passage (MaxSim of ColBERT, Khattab and Zaharia 2020). The encoder is the
index's own, so that no further model is needed. It was not trained for this, and yet it orders
better than one vector a passage does; tests/bench/test_retrieval.py measures by how much.
"""

from dataclasses import dataclass, field

import numpy as np

from pipelines.vectorstore.encoding import Encoder, Vectors
from pipelines.vectorstore.search import Passage


@dataclass(frozen=True)
class Reranker:
    """An encoder, and the word vectors of the passages that it has ordered so far.

    They take 0.3 MB a passage of 200 tokens and 384 dimensions.
    """

    encoder: Encoder
    word_vectors: dict[str, Vectors] = field(default_factory=dict)

    def reorder(self, question: str, passages: list[Passage]) -> list[Passage]:
        """The passages, those first whose headings and text answer the question best."""
        texts = [" > ".join(passage.headings) + "\n" + passage.text for passage in passages]
        return [passages[position] for position in self.order(question, texts)]

    def order(self, question: str, texts: list[str]) -> list[int]:
        """Positions in `texts`, best first; of equally good ones the earlier first."""
        missing = sorted(set(texts) - set(self.word_vectors))
        self.word_vectors.update(zip(missing, self.encoder.words(missing), strict=True))
        (question_words,) = self.encoder.words([question])
        scores = np.array([score(question_words, self.word_vectors[text]) for text in texts])
        return [int(position) for position in np.argsort(-scores, kind="stable")]


def score(question: Vectors, passage: Vectors) -> float:
    """Mean over the question's words of the best cosine with a word of the passage.

    0 if either has no word.
    """
    if not len(question) or not len(passage):
        return 0.0
    return float((question @ passage.T).max(axis=1).mean())
