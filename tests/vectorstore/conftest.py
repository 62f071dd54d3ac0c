"""The files that tests of this room build collections from."""

from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.vectorstore import stored_collections

FACTS = {
    "encoder_model": "mini",
    "encoder_revision": "",
    "encoder_digest": "e1",
    "precision": "fp32",
    "dimensions": "3",
}


class Source(NamedTuple):
    """What `build_index` and `open_index` read."""

    chunks: Path
    vectors: Path


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collections are as those of a large corpus: searched by a graph, and changed by a build."""
    monkeypatch.setattr(stored_collections, "EXACT_UP_TO_OBJECTS", 0)


def write_source(folder: Path, vector_by_text: dict[str, list[float]]) -> Source:
    """chunks.parquet and vectors.parquet of these texts, in a folder that is created.

    Their chunk ids are c-0, c-1 ...
    """
    folder.mkdir(parents=True, exist_ok=True)
    chunks = []
    vectors = []
    for number, (text, vector) in enumerate(vector_by_text.items()):
        chunk = {
            "chunk_id": f"c-{number}",
            "doc_id": "c",
            "uri": f"book/{text}.md",
            "title": "Book",
            "headings": ["Book", text],
            "table_head": None,
            "text": text,
            "start": 10 * number,
            "end": 10 * number + 9,
            "pages": [],
            "readers": ["everyone"],
            "num_tokens": 3,
            "digest": text,
        }
        chunks.append(chunk)
        vectors.append({"chunk_id": f"c-{number}", "vector": vector})
    source = Source(folder / "chunks.parquet", folder / "vectors.parquet")
    files.write(source.chunks, CHUNKS, chunks)
    files.write(source.vectors, schema_of(3).with_metadata(FACTS), vectors)
    return source
