"""Who may read what, in a real Weaviate: by its client, and by HTTP as inside Triton."""

import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from weaviate.classes.query import Filter

from pipelines import files
from pipelines.contracts.chunks import CHUNKS, CHUNKS_WITHOUT_READERS
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.runtime import passage_search
from pipelines.runtime.passage_search import Query, SearchError
from pipelines.runtime.readers import EVERYONE, Groups
from pipelines.vectorstore import (
    build_index,
    open_client,
    open_index,
    published_pages,
    server_address,
)
from pipelines.vectorstore.search import Index
from tests.vectorstore.conftest import FACTS, Source

WORDS = ("harbour", "mast", "sail", "rope", "anchor", "tide", "pier", "salary", "bonus", "merger")
READERS = ([EVERYONE], [EVERYONE], ["hr"], ["board"], ["board", "hr"], ["hr-archive"])
ASKERS: tuple[Groups, ...] = ((), ("hr",), ("board",), ("board", "hr"), ("nobody",))
NUM_PASSAGES = 240
NUM_QUESTIONS = 500
LIMIT = 10
DIMENSIONS = 8
RECEIPT = Receipt(
    collection="Chunks_0123456789ab",
    digest="0123456789ab",
    num_objects=8,
    dimensions=DIMENSIONS,
    encoder=Encoder(model="mini", revision=None, digest="e1", precision="fp32"),
    chunks_digest="",
    vectors_digest="",
    hybrid_alpha=0.5,
    server_version="1",
)
Vector = npt.NDArray[np.float32]


class Passage(NamedTuple):
    """A passage to write."""

    text: str
    vector: Vector
    readers: list[str]


def draw_passages() -> list[Passage]:
    numbers = np.random.default_rng(3)
    dice = random.Random(3)
    passages: list[Passage] = []
    for number in range(NUM_PASSAGES):
        vector = numbers.normal(size=DIMENSIONS)
        unit_vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        text = f"{' '.join(dice.choices(WORDS, k=12))} number{number}"
        passages.append(Passage(text, unit_vector, READERS[number % len(READERS)]))
    return passages


def write(folder: Path, passages: list[Passage]) -> Source:
    source = Source(folder / "chunks.parquet", folder / "vectors.parquet")
    common = {"doc_id": "c", "title": "", "headings": [], "start": 0, "end": 9, "pages": [],
              "table_head": None, "num_tokens": 3, "digest": ""}  # fmt: skip
    chunks = []
    vectors = []
    for number, passage in enumerate(passages):
        chunk_id = f"c-{number:04}"
        own = {"chunk_id": chunk_id, "uri": f"book/{number}", "text": passage.text}
        chunks.append({**common, **own, "readers": passage.readers})
        vectors.append({"chunk_id": chunk_id, "vector": passage.vector.tolist()})
    files.write(source.chunks, CHUNKS, chunks)
    facts = {**FACTS, "dimensions": str(DIMENSIONS)}
    files.write(source.vectors, schema_of(DIMENSIONS).with_metadata(facts), vectors)
    return source


def build(source: Source) -> Receipt:
    return build_index(*source, keep=1, sample=4, hybrid_alpha=0.5)


def open_in_triton(collection: str) -> passage_search.Index:
    """The search that Triton does."""
    with pytest.MonkeyPatch.context() as patch, server_address() as environment:
        for name, value in environment.items():
            patch.setenv(name, value)
        return passage_search.Index(collection, 10.0)


def expected_ids(passages: list[Passage], groups: Groups) -> set[str]:
    """The ids of what somebody of these groups may read."""
    own = {EVERYONE, *groups}
    return {f"c-{number:04}" for number, passage in enumerate(passages) if own & {*passage.readers}}


def check_question(
    index: Index, in_triton: passage_search.Index, asked: Passage, passages: list[Passage]
) -> None:
    """Ask for a passage word by word, as askers of all kinds."""
    for groups in ASKERS:
        allowed_ids = expected_ids(passages, groups)
        hits = index.search(asked.text, asked.vector, LIMIT, groups)
        ids = [hit.chunk_id for hit in hits]
        assert len(ids) == LIMIT
        assert set(ids) <= allowed_ids
        is_own = bool({EVERYONE, *groups} & {*asked.readers})
        assert (hits[0].text == asked.text) == is_own
        query = Query(asked.text, asked.vector.tolist(), 0.5, groups)
        in_triton_ids = [hit["chunk_id"] for hit in in_triton.search(query, LIMIT)]
        assert in_triton_ids == ids


def test_no_question_leads_an_outsider_to_a_passage_of_others(
    serving: Path, tmp_path: Path
) -> None:
    passages = draw_passages()
    source = write(tmp_path, passages)
    receipt = build(source)
    assert receipt.num_restricted == NUM_PASSAGES * 4 // 6
    dice = random.Random(5)
    with open_index(receipt, *source) as index:
        in_triton = open_in_triton(receipt.collection)
        for _ in range(NUM_QUESTIONS // len(ASKERS)):
            check_question(index, in_triton, dice.choice(passages), passages)


def test_a_graph_leads_no_outsider_to_them_either(
    serving: Path, tmp_path: Path, graphs: None
) -> None:
    passages = draw_passages()
    source = write(tmp_path, passages)
    receipt = build(source)
    with open_index(receipt, *source) as index:
        in_triton = open_in_triton(receipt.collection)
        for passage in passages[:30]:
            for groups in ASKERS:
                ids = {
                    hit.chunk_id
                    for hit in index.search(passage.text, passage.vector, LIMIT, groups)
                }
                query = Query(passage.text, passage.vector.tolist(), 0.5, groups)
                ids |= {hit["chunk_id"] for hit in in_triton.search(query, LIMIT)}
                assert ids
                assert ids <= expected_ids(passages, groups)


def test_other_readers_make_another_collection_that_obeys_them(
    serving: Path, tmp_path: Path
) -> None:
    secret = Passage("the merger", np.eye(DIMENSIONS, dtype=np.float32)[0], ["board"])
    public = Passage("the harbour", np.eye(DIMENSIONS, dtype=np.float32)[1], [EVERYONE])
    texts: list[list[str]] = []
    collections: set[str] = set()
    for readers in (["board"], [EVERYONE], ["hr"]):
        folder = tmp_path / readers[0]
        folder.mkdir()
        source = write(folder, [secret._replace(readers=readers), public])
        receipt = build(source)
        collections.add(receipt.collection)
        with open_index(receipt, *source) as index:
            hits = index.search("the merger", secret.vector, 2, ("board",))
        texts.append([hit.text for hit in hits])
    assert texts == [["the merger", "the harbour"]] * 2 + [["the harbour"]]
    assert len(collections) == 3


def test_who_may_read_nothing_finds_nothing_and_an_empty_index_is_an_error(
    serving: Path, tmp_path: Path
) -> None:
    source = write(tmp_path, [passage._replace(readers=["hr"]) for passage in draw_passages()])
    in_triton = open_in_triton(build(source).collection)
    vector = [1.0] + [0.0] * (DIMENSIONS - 1)
    assert in_triton.search(Query("salary", vector, 0.5), LIMIT) == []
    assert len(in_triton.search(Query("salary", vector, 0.5, ("hr",)), LIMIT)) == LIMIT
    with open_index(build(source), *source) as index:
        index._collection.data.delete_many(Filter.by_property("readers").contains_any(["hr"]))
        with pytest.raises(SearchError, match="holds no passages"):
            in_triton.search(Query("salary", vector, 0.5), LIMIT)


def test_pages_that_everyone_may_read_in_a_collection_are_named(
    serving: Path, tmp_path: Path
) -> None:
    passages = draw_passages()
    source = write(tmp_path, passages)
    collection = build(source).collection
    asked = [f"book/{number}" for number in range(6)] + ["book/none"]
    assert published_pages(collection, asked) == ["book/0", "book/1"]
    assert published_pages(collection, []) == []


def test_the_files_of_a_release_from_before_documents_had_readers_make_its_collection(
    serving: Path, tmp_path: Path
) -> None:
    source = write(tmp_path, draw_passages()[:8])
    rows = list(files.read(source.chunks, CHUNKS))
    for row in rows:
        del row["readers"]
    files.write(source.chunks, CHUNKS_WITHOUT_READERS, rows)
    receipt = RECEIPT.model_copy(
        update={
            "chunks_digest": files.digest(source.chunks),
            "vectors_digest": files.digest(source.vectors),
        }
    )
    with open_index(receipt, *source), open_client() as client:
        collection = client.collections.use(receipt.collection)
        stored = collection.query.fetch_objects(limit=10).objects
    assert {item.properties["text"] for item in stored} == {row["text"] for row in rows}
    assert len(published_pages(receipt.collection, ["book/2", "book/5"])) == 2
