"""Pages that everyone may read in a collection."""

from collections.abc import Iterable
from typing import Any

from pipelines.runtime import readers
from pipelines.vectorstore.weaviate_client import open_client

URIS_A_CALL = 500
MAX_OBJECTS = 10_000  # that the server lists at most


def published_pages(collection: str, uris: Iterable[str]) -> list[str]:
    """Those of these uris with a passage that everyone may read there, sorted.

    A passage from before documents had readers is everyone's.
    """
    from weaviate.classes.query import Filter

    sorted_uris = sorted(set(uris))
    published: set[str] = set()
    with open_client() as client:
        handle = client.collections.use(collection)
        properties = {entry.name for entry in handle.config.get().properties}
        for start in range(0, len(sorted_uris), URIS_A_CALL):
            batch = sorted_uris[start : start + URIS_A_CALL]
            answer = handle.query.fetch_objects(
                filters=Filter.by_property("uri").contains_any(batch),
                limit=MAX_OBJECTS,
                return_properties=sorted(properties & {"uri", readers.PROPERTY}),
            )
            for item in answer.objects:
                groups: Any = item.properties.get(readers.PROPERTY)
                if not groups or readers.is_public(groups):
                    published.add(str(item.properties["uri"]))
    return sorted(published)
