"""The objects of a collection, read from chunks.parquet and vectors.parquet.

An object's id is the digest of all that is in it, its vector included. So what did not change
between two builds is recognised by its id.
"""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import files
from pipelines.contracts.chunks import CHUNKS, CHUNKS_WITHOUT_READERS
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.runtime.character_pairs import PROPERTY as PAIRS
from pipelines.runtime.character_pairs import pairs_of
from pipelines.runtime.readers import PROPERTY as READERS

Vectors = npt.NDArray[np.float32]
Properties = dict[str, Any]
PROPERTIES = [
    "chunk_id",
    "uri",
    "title",
    "headings",
    "table_head",
    "text",
    "start",
    "end",
    "pages",
    "readers",
]


class IndexFiles(NamedTuple):
    """The files that a collection is built from; their rows stand in the same order."""

    chunks: Path
    vectors: Path
    dimensions: int

    @property
    def num_objects(self) -> int:
        return files.count(self.chunks)


class Batch(NamedTuple):
    """Consecutive objects, in the files' order."""

    ids: list[uuid.UUID]
    rows: list[Properties]
    vectors: Vectors  # shape (objects, dimensions)


def read_batches(source: IndexFiles) -> Iterator[Batch]:
    """All objects of the two files."""
    for table, vectors in _read_tables(source):
        rows = table.select(_properties(table.schema)).to_pylist()
        ids = [object_id(row, vector) for row, vector in zip(rows, vectors, strict=True)]
        for row in rows:
            _add_pairs(row)
        yield Batch(ids, rows, vectors)


def read_sample(source: IndexFiles, step: int) -> Iterator[tuple[Properties, Vectors]]:
    """Properties and vector of every `step`-th object, from the first on, and of the last."""
    last = source.num_objects - 1
    position = 0
    for table, vectors in _read_tables(source):
        for number in range(table.num_rows):
            if position % step == 0 or position == last:
                (row,) = table.slice(number, 1).select(_properties(table.schema)).to_pylist()
                yield row, vectors[number]
            position += 1


def object_id(row: Properties, vector: Vectors) -> uuid.UUID:
    """The digest of an object: its properties and the bytes of its vector."""
    properties = repr([row[name] for name in PROPERTIES if name in row])
    content = properties.encode("utf-8", "surrogatepass") + b"\0" + vector.tobytes()
    return uuid.UUID(bytes=hashlib.sha256(content).digest()[:16], version=5)


def _add_pairs(row: Properties) -> None:
    """They follow from the other properties, so the object's id says nothing of them."""
    searched_texts = [row["title"], *row["headings"], row["table_head"] or "", row["text"]]
    pairs = pairs_of("\n".join(searched_texts))
    if pairs:
        row[PAIRS] = " ".join(pairs)


def _properties(schema: pa.Schema) -> list[str]:
    """Those of PROPERTIES that the chunks have: those of earlier releases have no readers."""
    return [name for name in PROPERTIES if name in schema.names]


def _read_tables(source: IndexFiles) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
    """Batches of chunks.parquet with their vectors, shape (chunks, dimensions)."""
    has_readers = READERS in pq.read_schema(source.chunks).names
    schema = CHUNKS if has_readers else CHUNKS_WITHOUT_READERS
    chunk_batches = files.batches(source.chunks, schema)
    vector_batches = files.batches(source.vectors, schema_of(source.dimensions))
    for table, vector_table in zip(chunk_batches, vector_batches, strict=True):
        is_aligned = table.column("chunk_id").equals(vector_table.column("chunk_id"))
        assert is_aligned, "chunks and vectors are in different orders"
        values = vector_table.column("vector").flatten().to_numpy(zero_copy_only=False)
        yield table, values.reshape(-1, source.dimensions)
