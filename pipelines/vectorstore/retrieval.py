"""Retrieval: the passages for a question, in the order in which evaluation and serving show them.

Hybrid search, then late interaction over the best passages (runtime/late_interaction.py) with the
weight that the receipt names. The assistant does the same inside Triton.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.contracts.receipt import Receipt
from pipelines.runtime import late_interaction
from pipelines.runtime.late_interaction import WordVectors
from pipelines.vectorstore.building import open_index
from pipelines.vectorstore.encoding import Encoder, load_encoder, locate_encoder
from pipelines.vectorstore.search import Index, Passage

MAX_BATCH_TOKENS = 16384  # of the encoder on a GPU


@dataclass(frozen=True)
class Retriever:
    """An open collection and the encoder of its vectors."""

    index: Index
    encoder: Encoder
    words: WordVectors
    rerank_weight: float

    def encode(self, questions: Iterable[str]) -> None:
        """Encode questions together, which is faster than one by one in `find`."""
        self.encoder.lookup(questions)

    def find(self, question: str, limit: int) -> list[Passage]:
        """The best `limit` passages, best first."""
        vector = self.encoder.lookup([question])[question]
        num_candidates = late_interaction.num_candidates(limit, self.rerank_weight)
        passages = self.index.search(question, vector, num_candidates)
        return self._reorder(question, passages)[:limit]

    def _reorder(self, question: str, passages: list[Passage]) -> list[Passage]:
        if self.rerank_weight == 0:
            return passages
        best = passages[: late_interaction.NUM_REORDERED]
        texts = [late_interaction.passage_text(item.headings, item.text) for item in best]
        positions = late_interaction.order(self.words.scores(question, texts), self.rerank_weight)
        return [*[best[position] for position in positions], *passages[len(best) :]]


@contextmanager
def open_retriever(receipt: Receipt, chunks: Path, vectors: Path) -> Iterator[Retriever]:
    """The verified collection of a receipt with the encoder that it names.

    Raises UserError as `open_index` and `locate_encoder` do.
    """
    folder = locate_encoder(receipt.encoder.model, receipt.encoder.revision)
    encoder = load_encoder(folder, receipt.encoder.precision, MAX_BATCH_TOKENS)
    with open_index(receipt, chunks, vectors) as index:
        yield Retriever(index, encoder, WordVectors(encoder.words), receipt.rerank_weight)
