"""A collection of at most EXACT_UP_TO_OBJECTS answers as any other with the same content."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from weaviate.classes.query import HybridFusion, MetadataQuery

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.runtime import passage_search
from pipelines.runtime.passage_search import Query
from pipelines.vectorstore import (
    build_index,
    index_problem,
    open_client,
    open_index,
    point_alias,
    remove_alias,
    server_address,
    stored_collections,
)
from tests.vectorstore.conftest import FACTS, Source, write_source

DIMENSIONS = 32
LIMIT = 10  # passages of a search
WORDS = [f"word{number}" for number in range(800)]
WORD_SHARES = 1 / np.arange(1, len(WORDS) + 1)
WORD_SHARES /= WORD_SHARES.sum()

OtherClone = Callable[[str], AbstractContextManager[Path]]
Pids = Callable[[Path], list[int]]
Vector = npt.NDArray[np.float32]


class Text(NamedTuple):
    """A passage, or a question."""

    name: str
    text: str
    vector: Vector


def random_texts(seed: int, names: list[str]) -> Iterator[Text]:
    random = np.random.default_rng(seed)
    for name in names:
        num_words = int(random.integers(10, 60))
        words = random.choice(WORDS, size=num_words, p=WORD_SHARES)
        vector = random.normal(size=DIMENSIONS)
        unit_vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        yield Text(name, " ".join(words), unit_vector)


def write_texts(folder: Path, texts: list[Text]) -> Source:
    folder.mkdir()
    source = Source(folder / "chunks.parquet", folder / "vectors.parquet")
    chunk = {"doc_id": "c", "uri": "book.md", "title": "", "headings": [], "start": 0, "end": 9,
             "table_head": None, "pages": [], "readers": ["everyone"], "num_tokens": 3,
             "digest": ""}  # fmt: skip
    chunks = [{**chunk, "chunk_id": text.name, "text": text.text} for text in texts]
    vectors = [{"chunk_id": text.name, "vector": text.vector.tolist()} for text in texts]
    facts = {**FACTS, "dimensions": str(DIMENSIONS)}
    files.write(source.chunks, CHUNKS, chunks)
    files.write(source.vectors, schema_of(DIMENSIONS).with_metadata(facts), vectors)
    return source


def search_scores(receipt: Receipt, questions: list[Text]) -> dict[str, list[list[Any]]]:
    """Chunk id and score of the passages of each question, by vectors, by words and by both."""
    scores: dict[str, list[list[Any]]] = {}
    with open_client() as client:
        query = client.collections.use(receipt.collection).query
        for kind, alpha in {"words": 0.0, "both": 0.7, "vectors": 1.0}.items():
            scores[kind] = []
            for question in questions:
                answer = query.hybrid(
                    question.text,
                    vector=question.vector.tolist(),
                    alpha=alpha,
                    fusion_type=HybridFusion.RELATIVE_SCORE,
                    query_properties=list(passage_search.SEARCHED_PROPERTIES),
                    return_metadata=MetadataQuery(score=True),
                    limit=LIMIT,
                )
                hits = [[hit.properties["chunk_id"], hit.metadata.score] for hit in answer.objects]
                scores[kind].append(hits)
    return scores


def search_bm25(receipt: Receipt, questions: list[Text]) -> list[list[float]]:
    """The best BM25 scores of each question, which are not scaled, best first."""
    scores: list[list[float]] = []
    with open_client() as client:
        query = client.collections.use(receipt.collection).query
        for question in questions:
            answer = query.bm25(
                question.text,
                query_properties=list(passage_search.SEARCHED_PROPERTIES),
                return_metadata=MetadataQuery(score=True),
                limit=LIMIT,
            )
            scores.append([hit.metadata.score or 0.0 for hit in answer.objects])
    return scores


def test_after_1000_changes_searches_give_what_a_fresh_collection_gives_and_exact_neighbours(
    clone: Path, tmp_path: Path, other_clone: OtherClone
) -> None:
    """Changed in place, 48 of 60 hybrid searches and 2 of 60 by words kept their order."""
    names = [f"c-{number}" for number in range(3000)]
    texts = list(random_texts(1, names))
    source = write_texts(tmp_path / "first", texts)
    build_index(*source, keep=3, sample=64, hybrid_alpha=0.7)
    for step in range(4):
        position = 700 * step
        texts[position : position + 250] = random_texts(2 + step, names[position : position + 250])
        source = write_texts(tmp_path / f"change {step}", texts)
        # The server ends after each build, and brings to disk what the next one changes.
        receipt = build_index(*source, keep=3, sample=64, hybrid_alpha=0.7)
    random = np.random.default_rng(9)
    questions = []
    for question in random_texts(10, [f"q-{number}" for number in range(40)]):
        words = random.choice(question.text.split(), size=6)
        questions.append(question._replace(text=" ".join(words)))
    after_changes = search_scores(receipt, questions)
    bm25_after_changes = search_bm25(receipt, questions)
    with other_clone("fresh"):
        assert build_index(*source, keep=1, sample=64, hybrid_alpha=0.7) == receipt
        fresh = search_scores(receipt, questions)
        fresh_bm25 = search_bm25(receipt, questions)

    for kind, hits in after_changes.items():
        for question_hits, fresh_hits in zip(hits, fresh[kind], strict=True):
            assert [name for name, _ in question_hits] == [name for name, _ in fresh_hits]
            scores = [score for _, score in question_hits]
            assert scores == pytest.approx([score for _, score in fresh_hits], abs=1e-6)
    for bm25_scores, fresh_scores in zip(bm25_after_changes, fresh_bm25, strict=True):
        assert bm25_scores == pytest.approx(fresh_scores, abs=1e-5)
    all_vectors = np.stack([text.vector for text in texts])
    for question, question_hits in zip(questions, after_changes["vectors"], strict=True):
        nearest = np.argsort(-(all_vectors @ question.vector))[:LIMIT]
        assert [name for name, _ in question_hits] == [texts[number].name for number in nearest]


def test_passages_of_equal_score_come_in_the_same_order_wherever_they_were_written_first(
    serving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (boilerplate,) = random_texts(1, ["c"])
    others = list(random_texts(2, [f"other-{number}" for number in range(50)]))
    copies = [boilerplate._replace(name=f"copy-{number}") for number in range(30)]
    orders = []
    for folder, texts in {"up": copies + others, "down": others + copies[::-1]}.items():
        source = write_texts(tmp_path / folder, texts)
        for alpha in (0.0, 0.7, 1.0):
            receipt = build_index(*source, keep=3, sample=8, hybrid_alpha=alpha)
            with open_index(receipt, *source) as index:
                passages = index.search(boilerplate.text, boilerplate.vector, LIMIT)
            with server_address() as environment:
                for name, value in environment.items():
                    monkeypatch.setenv(name, value)
                query = Query(boilerplate.text, boilerplate.vector.tolist(), alpha)
                by_triton = passage_search.Index(receipt.collection, 10.0).search(query, LIMIT)
            monkeypatch.undo()
            orders.append([passage.chunk_id for passage in passages])
            orders.append([passage["chunk_id"] for passage in by_triton])
    assert all(order == orders[0] for order in orders)
    assert all(name.startswith("copy-") for name in orders[0])


def test_a_collection_that_outgrows_the_limit_gets_a_graph_and_goes_back_below_it(
    serving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_collections, "EXACT_UP_TO_OBJECTS", 2)
    small_texts: dict[str, list[float]] = {"small": [0, 1, 0], "corpus": [1, 0, 0]}
    small = write_source(tmp_path / "small", small_texts)
    large = write_source(tmp_path / "large", small_texts | {"grown": [0, 0, 1]})
    shrunk = write_source(tmp_path / "shrunk", {"corpus": [1, 0, 0], "grown": [0, 0, 1]})
    with open_client() as client:
        for source, is_exact in ((small, True), (large, False), (shrunk, True)):
            receipt = build_index(*source, keep=1, sample=4, hybrid_alpha=0.7)
            newest = stored_collections.list_stored(client)[-1]
            assert newest.digest == receipt.digest
            assert newest.is_exact == is_exact
            assert index_problem(receipt) is None


def test_a_small_collection_with_a_graph_is_written_anew_and_keeps_its_aliases(
    serving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_source(tmp_path, {"of an": [0, 1, 0], "earlier version": [1, 0, 0]})
    with monkeypatch.context() as patch, open_client() as client:
        patch.setattr(stored_collections, "EXACT_UP_TO_OBJECTS", 0)
        receipt = build_index(*source, keep=1, sample=4, hybrid_alpha=0.7)
        point_alias("Earlier", receipt.collection)
        assert not stored_collections.list_stored(client)[-1].is_exact
    with open_index(receipt, *source) as index, open_client() as client:
        assert len(index.search("of an", np.array([0, 1, 0], dtype=np.float32), 5)) == 2
        target = stored_collections.resolve(client, receipt.collection)
        newest = stored_collections.list_stored(client)[-1]
        assert newest.is_exact
        assert (newest.name, newest.aliases) == (target, ("Earlier",))
    remove_alias("Earlier")
