from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.vectorstore import build_index, open_index
from tests.vectorstore.conftest import FACTS, write_source


def test_the_nearest_passages_come_best_first_with_their_cosine_and_no_more_than_the_limit(
    serving: Path, tmp_path: Path
) -> None:
    source = write_source(
        tmp_path,
        {"north": [0, 1, 0], "north-east": [0.6, 0.8, 0], "east": [1, 0, 0], "up": [0, 0, 1]},
    )
    east = np.array([1.0, 0.0, 0.0], dtype=np.float32)
    receipt = build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
    with open_index(receipt, *source) as index:
        first, second = index.search("east", east, 2)
        assert len(index.search("east", east, 10)) == 4
    assert first[:4] == ("c-2", "book/east.md", ["Book", "east"], "east")
    assert second[:4] == ("c-1", "book/north-east.md", ["Book", "north-east"], "north-east")
    assert first.similarity == pytest.approx(1.0, abs=1e-6)
    assert second.similarity == pytest.approx(0.6, abs=1e-6)


def test_hybrid_alpha_weighs_the_words_of_a_question_against_its_vector(
    serving: Path, tmp_path: Path
) -> None:
    source = write_source(
        tmp_path,
        {"the harbour": [1, 0, 0], "the lighthouse": [0.8, 0.6, 0], "the mountain": [0, 1, 0]},
    )
    like_harbour = np.array([1.0, 0.0, 0.0], dtype=np.float32)
    texts: dict[float, list[str]] = {}
    for alpha in (0.0, 0.3, 1.0):
        receipt = build_index(*source, keep=2, sample=3, hybrid_alpha=alpha)
        with open_index(receipt, *source) as index:
            passages = index.search("where is the lighthouse", like_harbour, 3)
        texts[alpha] = [passage.text for passage in passages]
    assert texts[0.0][0] == "the lighthouse"
    assert texts[0.3][0] == "the lighthouse"
    assert texts[1.0] == ["the harbour", "the lighthouse", "the mountain"]


def test_a_passage_has_the_numbers_of_the_pages_that_it_lies_on(
    serving: Path, tmp_path: Path
) -> None:
    chunk: dict[str, Any] = {
        "doc_id": "c",
        "uri": "book/a.pdf",
        "title": "",
        "headings": [],
        "table_head": None,
        "start": 0,
        "end": 9,
        "readers": ["everyone"],
        "num_tokens": 3,
        "digest": "",
    }
    chunks = tmp_path / "chunks.parquet"
    vectors = tmp_path / "vectors.parquet"
    on_pages = {**chunk, "chunk_id": "c-0", "text": "paged", "pages": [2, 3]}
    on_none = {**chunk, "chunk_id": "c-1", "text": "not paged", "pages": []}
    files.write(chunks, CHUNKS, [on_pages, on_none])
    files.write(
        vectors,
        schema_of(3).with_metadata(FACTS),
        [{"chunk_id": "c-0", "vector": [1, 0, 0]}, {"chunk_id": "c-1", "vector": [0, 1, 0]}],
    )
    receipt = build_index(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7)
    with open_index(receipt, chunks, vectors) as index:
        first, second = index.search("paged", np.array([1.0, 0.1, 0.0], dtype=np.float32), 2)
    assert (first.text, first.pages) == ("paged", (2, 3))
    assert (second.text, second.pages) == ("not paged", ())
