"""Hybrid search over one collection, through Weaviate's client; and passages told by what they say.

pipelines/runtime/passage_search.py is the same search inside Triton, over HTTP with the standard
library alone. Both take their parameters from there: the fusion of scores, the properties that are
searched and those that are returned. tests/runtime/test_passage_search.py compares the two.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.runtime import character_pairs, readers
from pipelines.runtime.passage_search import (
    RETURNED_PROPERTIES,
    SEARCHED_PROPERTIES,
    complete_text,
)
from pipelines.runtime.readers import Groups
from pipelines.vectorstore import loading, stored_collections
from pipelines.vectorstore.weaviate_client import open_client

if TYPE_CHECKING:
    from weaviate import WeaviateClient

Vector = npt.NDArray[np.float32]

URIS_A_CALL = 500
MAX_OBJECTS = 10_000  # that the server lists at most
OBJECTS_A_CALL = 1000


class Passage(NamedTuple):
    """One hit, in the order of the hybrid search."""

    chunk_id: str
    uri: str
    headings: list[str]
    text: str  # after the head of its table, if it begins among the rows of one
    similarity: float  # cosine with the question
    pages: tuple[int, ...] = ()  # numbers of the pages that it lies on, if there are pages
    title: str = ""  # of the document, if it has one


class Index:
    """A verified collection, held by an open connection."""

    def __init__(self, client: "WeaviateClient", receipt: Receipt):
        self._collection = client.collections.use(receipt.collection)
        self.receipt = receipt

    def search(
        self, question: str, vector: Vector, limit: int, groups: Groups = ()
    ) -> list[Passage]:
        """The best `limit` passages for a question's words (BM25) and its unit vector, best first.

        Only what everyone or one of `groups` may read is searched.
        Both scores are scaled to 0..1 over the candidates and added with the weight of the
        receipt's `hybrid_alpha` (Weaviate's relative score fusion).
        """
        from weaviate.classes.query import Filter, HybridFusion

        condition = Filter.by_property(readers.PROPERTY).contains_any(readers.memberships(groups))
        answer = self._collection.query.hybrid(
            character_pairs.with_pairs(question),
            vector=vector.tolist(),
            alpha=self.receipt.hybrid_alpha,
            fusion_type=HybridFusion.RELATIVE_SCORE,
            query_properties=list(SEARCHED_PROPERTIES),
            return_properties=list(RETURNED_PROPERTIES),
            filters=condition,
            limit=limit,
            include_vector=True,
        )
        return [_to_passage(hit, vector) for hit in answer.objects]


def published_pages(collection: str, uris: Iterable[str]) -> list[str]:
    """Those of these uris with a passage that everyone may read there, sorted.

    A passage from before documents had readers is everyone's.
    """
    from weaviate.classes.query import Filter

    sorted_uris = sorted(set(uris))
    public_uris: set[str] = set()
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
                    public_uris.add(str(item.properties["uri"]))
    return sorted(public_uris)


class Passages(NamedTuple):
    """Objects of one collection."""

    collection: str
    digest: str | None  # of the collection's content; None: a spare, or unfinished
    ids: frozenset[uuid.UUID]


def find_passages(is_meant: Callable[[dict[str, Any]], bool]) -> list[Passages]:
    """The objects whose properties are meant, of every collection of ours that has some."""
    passages: list[Passages] = []
    with open_client() as client:
        for collection in stored_collections.list_stored(client):
            objects = client.collections.use(collection.name).iterator(cache_size=OBJECTS_A_CALL)
            ids = frozenset(item.uuid for item in objects if is_meant(dict(item.properties)))
            if ids:
                passages.append(Passages(collection.name, collection.digest, ids))
    return passages


def remove_passages(passages: Sequence[Passages]) -> None:
    """Remove what `find_passages` found: each collection gives way to one without these objects.

    Weaviate keeps a removed object in its files until it tidies them, and BM25 counts its words; a
    collection that is deleted leaves nothing. The new one has the content's name and every other
    alias, and is used as it is: nothing builds it anew from files that have the passages. Raises
    UserError if a build has changed one of the collections since.
    """
    with open_client() as client, stored_collections.lock_builds():
        stored = {
            collection.name: collection for collection in stored_collections.list_stored(client)
        }
        for entry in passages:
            collection = stored.get(entry.collection)
            if collection is None or collection.digest != entry.digest:
                raise UserError(
                    f"Weaviate's collection {entry.collection} was changed by a build meanwhile: "
                    "run the same command again"
                )
            if collection.digest is None and not collection.aliases:
                stored_collections.remove(client, collection)
            else:
                substitute = loading.copy_without(client, collection.name, entry.ids)
                stored_collections.replace(client, collection, substitute)


def _to_passage(hit: Any, question: Vector) -> Passage:
    properties = hit.properties
    return Passage(
        chunk_id=properties["chunk_id"],
        uri=properties["uri"],
        title=properties["title"] or "",
        headings=list(properties["headings"]),
        text=complete_text(properties["text"], properties["table_head"]),
        similarity=float(np.dot(hit.vector["default"], question)),
        pages=tuple(properties["pages"] or ()),
    )
