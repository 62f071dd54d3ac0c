"""Verification: compares a collection with the files that it was built from."""

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.vectorstore.objects import IndexFiles, Vectors, object_id, read_sample

if TYPE_CHECKING:
    from weaviate import WeaviateClient

IDS_A_CALL = 1000  # of QUERY_MAXIMUM_RESULTS (10,000) that the server lists at most
ROUNDING = 1e-5  # between a vector's number and the stored one
SAME_DISTANCE = 1e-3  # cosine distance of a vector to itself, with rounding
MAX_LOST_SHARE = 1 / 32  # the graph is approximate: now and then it does not lead to a vector


def find_difference(
    client: "WeaviateClient", collection: str, source: IndexFiles, sample: int
) -> str | None:
    """What is wrong with a collection, or None.

    Wrong is another count; an object, of `sample` many, that is not the files'; or more than
    MAX_LOST_SHARE of them to which the graph does not lead.
    """
    handle = client.collections.use(collection)
    num_expected = source.num_objects
    num_stored = handle.aggregate.over_all(total_count=True).total_count
    if num_stored != num_expected:
        return f"it holds {num_stored} objects instead of {num_expected}"
    objects = list(read_sample(source, step=max(1, num_expected // sample)))
    ids = [object_id(row, vector) for row, vector in objects]
    stored_vectors = _fetch_vectors(handle, ids)
    num_lost = 0
    for (row, vector), stored_vector in zip(objects, stored_vectors, strict=True):
        if stored_vector is None or not np.allclose(stored_vector, vector, atol=ROUNDING):
            return f"{row['chunk_id']} is missing or has another vector"
        num_lost += not _is_reached(handle, vector)
    if num_lost > MAX_LOST_SHARE * len(objects):
        return (
            f"a search by vector does not find {num_lost} of {len(objects)} objects "
            "by their own vectors"
        )
    return None


def find_search_problem(collection: Any) -> str | None:
    """What is wrong if the neighbourhood of a stored vector is empty, else None."""
    objects = collection.query.fetch_objects(limit=1, include_vector=True).objects
    if not objects:
        return None
    vector = objects[0].vector.get("default")
    if vector is None or not collection.query.near_vector(vector, limit=1).objects:
        return "a search by vector finds nothing in it"
    return None


def _is_reached(collection: Any, vector: Vectors) -> bool:
    """Whether the graph leads from a vector to an object with this vector."""
    from weaviate.classes.query import MetadataQuery

    nearest = collection.query.near_vector(
        vector.tolist(), limit=1, return_metadata=MetadataQuery(distance=True)
    ).objects
    return bool(nearest) and float(nearest[0].metadata.distance or 0) <= SAME_DISTANCE


def _fetch_vectors(collection: Any, ids: list[uuid.UUID]) -> list[list[float] | None]:
    """The vectors of these objects; None for an object that is missing or has none."""
    vectors: dict[uuid.UUID, list[float] | None] = {}
    for start in range(0, len(ids), IDS_A_CALL):
        answer = collection.query.fetch_objects_by_ids(
            ids[start : start + IDS_A_CALL],
            limit=IDS_A_CALL,
            include_vector=True,
            return_properties=[],
        )
        vectors |= {item.uuid: item.vector.get("default") for item in answer.objects}
    return [vectors.get(object_id) for object_id in ids]
