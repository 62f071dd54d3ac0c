"""Retrieval: the passages for a question, in the order in which evaluation and serving show them.

Hybrid search, then late interaction over the best passages (runtime/late_interaction.py) with the
weight that the receipt names. The assistant does the same inside Triton.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.contracts.receipt import Receipt
from pipelines.runtime import late_interaction
from pipelines.runtime.late_interaction import WordVectors
from pipelines.vectorstore.building import open_index
from pipelines.vectorstore.encoding import Encoder, load_encoder, locate_encoder
from pipelines.vectorstore.search import Index, Passage

QUESTIONS_AT_ONCE = 100  # whose passages are encoded together
MAX_TEXTS_KEPT = 3000  # whose word vectors stay in memory: about 0.2 MB each


@dataclass(frozen=True)
class Retriever:
    """An open collection and the encoder of its vectors."""

    index: Index
    encoder: Encoder
    words: WordVectors
    rerank_weight: float
    results: dict[tuple[str, int], list[Passage]] = field(default_factory=dict)  # of `prepare`

    def prepare(self, questions: Iterable[str], limit: int) -> None:
        """Find the passages of many questions together, which is faster than one by one."""
        from tqdm import tqdm

        unique = sorted(set(questions))
        self.encoder.lookup(unique)
        with tqdm(
            total=len(unique),
            desc="finding passages",
            unit=" questions",
            mininterval=1,
            disable=len(unique) <= QUESTIONS_AT_ONCE,
        ) as bar:
            for start in range(0, len(unique), QUESTIONS_AT_ONCE):
                block = unique[start : start + QUESTIONS_AT_ONCE]
                self._prepare_block(block, limit)
                bar.update(len(block))

    def _prepare_block(self, questions: list[str], limit: int) -> None:
        candidates = {question: self._search(question, limit) for question in questions}
        if self.rerank_weight > 0:
            self.words.of([*questions, *_best_texts(candidates.values())])
        for question, passages in candidates.items():
            self.results[question, limit] = self._reorder(question, passages)[:limit]

    def find(self, question: str, limit: int) -> list[Passage]:
        """The best `limit` passages, best first."""
        if (question, limit) in self.results:
            return self.results[question, limit]
        return self._reorder(question, self._search(question, limit))[:limit]

    def _search(self, question: str, limit: int) -> list[Passage]:
        vector = self.encoder.lookup([question])[question]
        num_candidates = late_interaction.num_candidates(limit, self.rerank_weight)
        return self.index.search(question, vector, num_candidates)

    def _reorder(self, question: str, passages: list[Passage]) -> list[Passage]:
        if self.rerank_weight == 0:
            return passages
        scores = self.words.scores(question, _best_texts([passages]))
        positions = late_interaction.order(scores, self.rerank_weight)
        return [*[passages[position] for position in positions], *passages[len(positions) :]]


def _best_texts(results: Iterable[list[Passage]]) -> list[str]:
    """What late interaction looks at."""
    texts = []
    for passages in results:
        for passage in passages[: late_interaction.NUM_REORDERED]:
            texts.append(late_interaction.passage_text(passage.headings, passage.text))
    return texts


@contextmanager
def open_retriever(receipt: Receipt, chunks: Path, vectors: Path) -> Iterator[Retriever]:
    """The verified collection of a receipt with the encoder that it names.

    Raises UserError as `open_index` and `locate_encoder` do.
    """
    folder = locate_encoder(receipt.encoder.model, receipt.encoder.revision)
    encoder = load_encoder(folder, receipt.encoder.engine, receipt.encoder.precision)
    with open_index(receipt, chunks, vectors) as index:
        yield Retriever(
            index, encoder, WordVectors(encoder.words, MAX_TEXTS_KEPT), receipt.rerank_weight
        )
