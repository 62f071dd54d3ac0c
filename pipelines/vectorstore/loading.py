"""Loading: brings a place to what chunks.parquet and vectors.parquet say, by writing what it lacks and removing what it has too much.

An object's id is the digest of all that is in it, its vector included. So what did not change is there already, and is neither sent nor indexed again.
"""

import hashlib
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.errors import UserError

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.classes.data import DataObject

Vectors = npt.NDArray[np.float32]
PROPERTIES = ["chunk_id", "uri", "title", "headings", "text", "start", "end", "pages"]
OBJECTS_A_CALL = 200  # as fast as the client's `batch.stream()`, which takes a second for the first object
WRITERS = 2  # calls at once: the next is prepared while the server works on one
IDS_A_CALL = 1000  # of QUERY_MAXIMUM_RESULTS (10,000) that the server lists or deletes at most
MIN_COMMON_SHARE = 0.5  # of the first batch; with less in common a new collection is cheaper, and another encoder's vectors may have another length
SAME_DISTANCE = 1e-3  # cosine distance of a vector to itself, with rounding
MOST_WORDS = 400  # characters of the server's own words that are shown
MAX_LOST_SHARE = 1 / 32  # the graph is approximate: now and then it does not lead to a vector


class Change(NamedTuple):
    """Objects of a place that were there, were written, and were removed."""

    kept: int
    written: int
    removed: int


class Batch(NamedTuple):
    """Some objects: ids, properties and vectors, shape (objects, dimensions), in the files' order."""

    ids: list[uuid.UUID]
    rows: list[dict[str, Any]]
    vectors: Vectors


def batches(chunks: Path, vectors: Path, dimensions: int) -> Iterator[Batch]:
    """All objects of the two files."""
    for some, matrix in _tables(chunks, vectors, dimensions):
        rows = some.select(PROPERTIES).to_pylist()
        yield Batch([object_id(row, vector) for row, vector in zip(rows, matrix, strict=True)], rows, matrix)


def _tables(chunks: Path, vectors: Path, dimensions: int) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
    """Batches of chunks.parquet with their vectors, shape (chunks, dimensions)."""
    for some, made in zip(files.batches(chunks, CHUNKS), files.batches(vectors, schema_of(dimensions)), strict=True):
        assert some.column("chunk_id").equals(made.column("chunk_id")), "chunks and vectors are in different orders"
        yield some, made.column("vector").flatten().to_numpy(zero_copy_only=False).reshape(-1, dimensions)


def object_id(row: dict[str, Any], vector: Vectors) -> uuid.UUID:
    """The digest of an object: its properties and the bytes of its vector."""
    said = repr([row[name] for name in PROPERTIES]).encode("utf-8", "surrogatepass")
    return uuid.UUID(bytes=hashlib.sha256(said + b"\0" + vector.tobytes()).digest()[:16], version=5)


def differs_much(client: "WeaviateClient", place: str, chunks: Path, vectors: Path, dimensions: int) -> bool:
    """Whether less than MIN_COMMON_SHARE of the first batch, whose documents are in no order, is in the place."""
    ids = next((batch.ids for batch in batches(chunks, vectors, dimensions)), [])[:IDS_A_CALL]
    from weaviate.classes.query import Filter

    there = client.collections.use(place).aggregate.over_all(total_count=True, filters=Filter.by_id().contains_any(ids)).total_count if ids else 0
    return int(there or 0) < MIN_COMMON_SHARE * len(ids)


def load(client: "WeaviateClient", place: str, chunks: Path, vectors: Path, dimensions: int) -> Change:
    """Write what the place lacks, then remove what the files do not have. Raises UserError where the server refuses an object."""
    there = {item.uuid.int for item in client.collections.use(place).iterator(return_properties=[], cache_size=IDS_A_CALL)}
    before, written = len(there), 0
    with ThreadPoolExecutor(WRITERS) as pool:
        waiting: deque[Future[int]] = deque()
        for objects in _missing(batches(chunks, vectors, dimensions), there):
            waiting.append(pool.submit(_write, client, place, objects))
            if len(waiting) > 2 * WRITERS:
                written += waiting.popleft().result()
        written += sum(future.result() for future in waiting)
    _remove(client, place, [uuid.UUID(int=number) for number in there])
    _flush(client, place)
    return Change(before - len(there), written, len(there))


def _missing(objects: Iterator[Batch], there: set[int]) -> Iterator[list["DataObject[Any, None]"]]:
    """What is not in the place, in pieces for one call each; what is there and in the files is taken out of `there`."""
    from weaviate.classes.data import DataObject

    held: list[DataObject[Any, None]] = []
    for batch in objects:
        for made, row, vector in zip(batch.ids, batch.rows, batch.vectors, strict=True):
            if made.int in there:
                there.remove(made.int)
                continue
            held.append(DataObject(properties=row, vector=vector.tolist(), uuid=made))
            if len(held) == OBJECTS_A_CALL:
                yield held
                held = []
    if held:
        yield held


def _write(client: "WeaviateClient", place: str, objects: list["DataObject[Any, None]"]) -> int:
    from weaviate.exceptions import WeaviateInsertManyAllFailedError

    try:
        errors = client.collections.use(place).data.insert_many(objects).errors
    except WeaviateInsertManyAllFailedError as error:
        raise UserError(f"Weaviate refused {len(objects)} objects: {str(error)[:MOST_WORDS]}") from error
    if errors:
        raise UserError(f"Weaviate refused {len(errors)} of {len(objects)} objects; the first: {next(iter(errors.values())).message[:MOST_WORDS]}")
    return len(objects)


def _remove(client: "WeaviateClient", place: str, ids: list[uuid.UUID]) -> None:
    from weaviate.classes.query import Filter

    for start in range(0, len(ids), IDS_A_CALL):
        done = client.collections.use(place).data.delete_many(where=Filter.by_id().contains_any(ids[start : start + IDS_A_CALL]))
        if done.failed:
            raise UserError(f"Weaviate did not remove {done.failed} objects that are no longer in the files: run the same command again; see `.state/weaviate/server.log`")


def _flush(client: "WeaviateClient", place: str) -> None:
    """Bring the graph to disk as the objects are: the server flushes its log before it has logged the batch at hand, so that a kill loses the last one. Any deletion flushes it again, of nothing too."""
    from weaviate.classes.query import Filter

    client.collections.use(place).data.delete_many(where=Filter.by_id().equal(uuid.uuid4()))


def unsearchable(collection: Any) -> str | None:
    """What is wrong where a stored vector's own neighbourhood is empty, else None."""
    held = collection.query.fetch_objects(limit=1, include_vector=True).objects
    if not held:
        return None
    vector = held[0].vector.get("default")
    if vector is None or not collection.query.near_vector(vector, limit=1).objects:
        return "a search by vector finds nothing in it"
    return None


def difference(client: "WeaviateClient", place: str, chunks: Path, vectors: Path, dimensions: int, sample: int) -> str | None:
    """What is wrong with a place: another count, or of `sample` objects one that is not the file's, or some that the graph does not lead to. None when nothing is."""
    from weaviate.classes.query import MetadataQuery

    collection = client.collections.use(place)
    wanted, held = files.count(chunks), collection.aggregate.over_all(total_count=True).total_count
    if held != wanted:
        return f"it holds {held} objects instead of {wanted}"
    num_seen, num_lost = 0, 0
    looked_at = list(_sample(chunks, vectors, dimensions, max(1, wanted // sample), wanted))
    stored = _stored(collection, [object_id(row, vector) for row, vector in looked_at])
    for (row, vector), found in zip(looked_at, stored, strict=True):
        if found is None or not np.allclose(found, vector, atol=1e-5):
            return f"{row['chunk_id']} is missing or has another vector"
        nearest = collection.query.near_vector(vector.tolist(), limit=1, return_metadata=MetadataQuery(distance=True)).objects
        num_seen, num_lost = num_seen + 1, num_lost + (not nearest or float(nearest[0].metadata.distance or 0) > SAME_DISTANCE)
    if num_lost > MAX_LOST_SHARE * num_seen:
        return f"a search by vector does not find {num_lost} of {num_seen} objects by their own vectors"
    return None


def _stored(collection: Any, ids: list[uuid.UUID]) -> list[list[float] | None]:
    """The vectors of these objects; None for one that is not there or has none."""
    found: dict[uuid.UUID, list[float] | None] = {}
    for start in range(0, len(ids), IDS_A_CALL):
        answer = collection.query.fetch_objects_by_ids(ids[start : start + IDS_A_CALL], limit=IDS_A_CALL, include_vector=True, return_properties=[])
        found |= {item.uuid: item.vector.get("default") for item in answer.objects}
    return [found.get(wanted) for wanted in ids]


def _sample(chunks: Path, vectors: Path, dimensions: int, step: int, wanted: int) -> Iterator[tuple[dict[str, Any], Vectors]]:
    """Properties and vector of every `step`-th object, from the first on, and of the last."""
    place = 0
    for some, matrix in _tables(chunks, vectors, dimensions):
        for number in range(some.num_rows):
            if (place + number) % step == 0 or place + number == wanted - 1:
                yield some.slice(number, 1).select(PROPERTIES).to_pylist()[0], matrix[number]
        place += some.num_rows
