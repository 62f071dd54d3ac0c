"""Retrieval: the passages for a question, in the order in which evaluation and serving show them.

Hybrid search, then late interaction over the best passages (runtime/late_interaction.py) with the
weight that the receipt names. The assistant does the same inside Triton.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pipelines.contracts.receipt import Receipt
from pipelines.files import text_digest
from pipelines.runtime import late_interaction, openvino_encoder, torch_encoder
from pipelines.runtime.late_interaction import WordVectors
from pipelines.runtime.readers import Groups
from pipelines.system import cache, paths
from pipelines.system.cache import Cache
from pipelines.vectorstore.building import open_index
from pipelines.vectorstore.encoding import Encoder, load_encoder, locate_encoder
from pipelines.vectorstore.search import Index, Passage

QUESTIONS_AT_ONCE = 100  # whose passages are encoded together
# What a score depends on besides texts and encoder.
SCORE_MODULES = (late_interaction, openvino_encoder, torch_encoder)
LIBRARIES = ("openvino", "torch")
MAX_TEXTS_KEPT = 3000  # whose word vectors stay in memory: about 0.2 MB each


@dataclass(frozen=True)
class Retriever:
    """An open collection and the encoder of its vectors."""

    index: Index
    encoder: Encoder
    words: WordVectors
    rerank_weight: float
    known_scores: Cache[list[float]]  # of a question's best passages, by the digest of all texts
    # Of `prepare`, by question and limit: what everyone may read.
    results: dict[tuple[str, int], list[Passage]] = field(default_factory=dict)

    def prepare(self, questions: Iterable[str], limit: int) -> None:
        """Find many questions' passages together, which is faster than one by one.

        Only passages that everyone may read.
        """
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
        scores = self._scores(candidates) if self.rerank_weight > 0 else {}
        for question, passages in candidates.items():
            self.results[question, limit] = self._reorder(passages, scores.get(question))[:limit]

    def _scores(self, candidates: dict[str, list[Passage]]) -> dict[str, list[float]]:
        """The scores of each question's best passages; most were computed by an earlier command."""
        texts = {question: _best_texts(passages) for question, passages in candidates.items()}
        keys = {question: _digest([question, *texts[question]]) for question in texts}
        scores = self.known_scores.get_many(keys.values())
        missing = [question for question, key in keys.items() if key not in scores]
        self.words.of([*missing, *chain.from_iterable(texts[question] for question in missing)])
        new_scores: dict[str, list[float]] = {}
        for question in missing:
            new_scores[keys[question]] = self.words.scores(question, texts[question])
        self.known_scores.put(new_scores)
        scores |= new_scores
        return {question: scores[key] for question, key in keys.items()}

    def find(self, question: str, limit: int, groups: Groups = ()) -> list[Passage]:
        """The best `limit` passages that everyone or one of `groups` may read, best first."""
        if not groups and (question, limit) in self.results:
            return self.results[question, limit]
        passages = self._search(question, limit, groups)
        scores: list[float] | None = None
        if self.rerank_weight > 0:
            scores = self.words.scores(question, _best_texts(passages))
        return self._reorder(passages, scores)[:limit]

    def _search(self, question: str, limit: int, groups: Groups = ()) -> list[Passage]:
        vector = self.encoder.lookup([question])[question]
        num_candidates = late_interaction.num_candidates(limit, self.rerank_weight)
        return self.index.search(question, vector, num_candidates, groups)

    def _reorder(self, passages: list[Passage], scores: list[float] | None) -> list[Passage]:
        """Passages in the order of the search and of these scores, if there are any."""
        if scores is None:
            return passages
        positions = late_interaction.order(scores, self.rerank_weight)
        return [*[passages[position] for position in positions], *passages[len(positions) :]]


def _best_texts(passages: list[Passage]) -> list[str]:
    """What late interaction looks at."""
    best = passages[: late_interaction.NUM_REORDERED]
    return [late_interaction.passage_text(passage.headings, passage.text) for passage in best]


def _digest(texts: list[str]) -> str:
    return text_digest("\0".join(texts))


def open_score_cache(encoder: Encoder) -> AbstractContextManager[Cache[list[float]]]:
    """The scores that this clone has computed with an encoder."""
    code = [Path(str(module.__file__)) for module in SCORE_MODULES]
    settings = f"{encoder.digest}/{encoder.engine}/{encoder.precision}"
    kind = cache.kind_of("late_interaction", code, settings, LIBRARIES)
    return cache.open_cache(paths.state_folder() / "work.sqlite", kind)


@contextmanager
def open_retriever(receipt: Receipt, chunks: Path, vectors: Path) -> Iterator[Retriever]:
    """The verified collection of a receipt with the encoder that it names.

    Raises UserError as `open_index` and `locate_encoder` do.
    """
    folder = locate_encoder(receipt.encoder.model, receipt.encoder.revision)
    encoder = load_encoder(folder, receipt.encoder.engine, receipt.encoder.precision)
    with (
        open_index(receipt, chunks, vectors) as index,
        open_score_cache(encoder) as known_scores,
    ):
        words = WordVectors(encoder.words, MAX_TEXTS_KEPT)
        yield Retriever(index, encoder, words, receipt.rerank_weight, known_scores)
