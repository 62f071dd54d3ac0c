"""Loading: writes what a collection lacks of the files and removes what they no longer hold.

What did not change is there already, and is neither sent nor indexed again.
"""

import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.errors import UserError
from pipelines.vectorstore import stored_collections
from pipelines.vectorstore.objects import Batch, IndexFiles, read_batches

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.classes.data import DataObject

# As fast as the client's `batch.stream()`, which takes a second for the first object.
OBJECTS_A_CALL = 200
WRITERS = 2  # calls at once: the next is prepared while the server works on one
IDS_A_CALL = 1000  # of QUERY_MAXIMUM_RESULTS (10,000) that the server lists or deletes at most
# Of the first batch. With less in common a new collection is cheaper, and the vectors of another
# encoder may have another length.
MIN_COMMON_SHARE = 0.5
MAX_QUOTED_CHARACTERS = 400  # of the server's own message


class Change(NamedTuple):
    """What loading did with a collection's objects."""

    num_kept: int
    num_written: int
    num_removed: int


def differs_much(client: "WeaviateClient", collection: str, source: IndexFiles) -> bool:
    """Whether less than MIN_COMMON_SHARE of the first batch is in the collection.

    The documents of a batch are in no order, so that it stands for all.
    """
    from weaviate.classes.query import Filter

    first_batch = next(read_batches(source), None)
    if first_batch is None:
        return False
    ids = first_batch.ids[:IDS_A_CALL]
    answer = client.collections.use(collection).aggregate.over_all(
        total_count=True, filters=Filter.by_id().contains_any(ids)
    )
    num_common = answer.total_count or 0
    return num_common < MIN_COMMON_SHARE * len(ids)


def load(client: "WeaviateClient", collection: str, source: IndexFiles) -> Change:
    """Write what the collection lacks, then remove what the files do not have.

    Raises UserError if the server refuses an object.
    """
    stored_objects = client.collections.use(collection).iterator(
        return_properties=[], cache_size=IDS_A_CALL
    )
    surplus = {item.uuid.int for item in stored_objects}
    num_before = len(surplus)
    num_written = 0
    with ThreadPoolExecutor(WRITERS) as pool:
        calls: deque[Future[int]] = deque()
        for objects in _missing(read_batches(source), surplus):
            calls.append(pool.submit(_write, client, collection, objects))
            if len(calls) > 2 * WRITERS:
                num_written += calls.popleft().result()
        num_written += sum(call.result() for call in calls)
    _remove(client, collection, [uuid.UUID(int=number) for number in surplus])
    _flush(client, collection)
    return Change(num_before - len(surplus), num_written, len(surplus))


def copy_without(client: "WeaviateClient", collection: str, ids: frozenset[uuid.UUID]) -> str:
    """A new, unfinished collection with all objects of another one but these; returns its name.

    Raises UserError if the server refuses or loses an object.
    """
    from weaviate.classes.data import DataObject

    source = client.collections.use(collection)
    count = source.aggregate.over_all(total_count=True).total_count or 0
    target = stored_collections.create(client, count - len(ids))
    objects: list[DataObject[Any, None]] = []
    for item in source.iterator(include_vector=True, cache_size=OBJECTS_A_CALL):
        if item.uuid in ids:
            continue
        vector = item.vector["default"]
        objects.append(DataObject(properties=item.properties, vector=vector, uuid=item.uuid))
        if len(objects) == OBJECTS_A_CALL:
            _write(client, target, objects)
            objects = []
    if objects:
        _write(client, target, objects)
    _flush(client, target)
    num_copied = client.collections.use(target).aggregate.over_all(total_count=True).total_count
    if num_copied != count - len(ids):
        client.collections.delete(target)
        raise UserError(
            f"Weaviate kept {num_copied} of {count - len(ids)} objects of {collection}: "
            "run the same command again; see `.state/weaviate/server.log`"
        )
    return target


def _missing(
    batches: Iterator[Batch], stored_ids: set[int]
) -> Iterator[list["DataObject[Any, None]"]]:
    """The objects that are not stored, in lists for one call each.

    Takes what is both in the files and stored out of `stored_ids`.
    """
    from weaviate.classes.data import DataObject

    objects: list[DataObject[Any, None]] = []
    for batch in batches:
        for object_id, row, vector in zip(batch.ids, batch.rows, batch.vectors, strict=True):
            if object_id.int in stored_ids:
                stored_ids.remove(object_id.int)
                continue
            objects.append(DataObject(properties=row, vector=vector.tolist(), uuid=object_id))
            if len(objects) == OBJECTS_A_CALL:
                yield objects
                objects = []
    if objects:
        yield objects


def _write(
    client: "WeaviateClient", collection: str, objects: list["DataObject[Any, None]"]
) -> int:
    from weaviate.exceptions import WeaviateInsertManyAllFailedError

    try:
        errors = client.collections.use(collection).data.insert_many(objects).errors
    except WeaviateInsertManyAllFailedError as error:
        message = str(error)[:MAX_QUOTED_CHARACTERS]
        raise UserError(f"Weaviate refused {len(objects)} objects: {message}") from error
    if errors:
        first_error = next(iter(errors.values()))
        message = first_error.message[:MAX_QUOTED_CHARACTERS]
        raise UserError(
            f"Weaviate refused {len(errors)} of {len(objects)} objects; the first: {message}"
        )
    return len(objects)


def _remove(client: "WeaviateClient", collection: str, ids: list[uuid.UUID]) -> None:
    from weaviate.classes.query import Filter

    for start in range(0, len(ids), IDS_A_CALL):
        answer = client.collections.use(collection).data.delete_many(
            where=Filter.by_id().contains_any(ids[start : start + IDS_A_CALL])
        )
        if answer.failed:
            raise UserError(
                f"Weaviate did not remove {answer.failed} objects that are no longer in the files: "
                "run the same command again; see `.state/weaviate/server.log`"
            )


def _flush(client: "WeaviateClient", collection: str) -> None:
    """Bring the graph to disk in the state of the objects.

    The server flushes its log before it has logged the current batch, so that a kill would lose the
    last one. Any deletion flushes it again, even one that deletes nothing.
    """
    from weaviate.classes.query import Filter

    nothing = Filter.by_id().equal(uuid.uuid4())
    client.collections.use(collection).data.delete_many(where=nothing)
