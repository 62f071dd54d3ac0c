"""Places: the collections that Weaviate really has. A collection cannot be renamed, so an alias `Chunks_<digest>` says what is in one.

A place's description says the same to us: `<number of the build> <digest>`; `spare` while nobody needs it; `unfinished <token>` while it is written. What
does not say that it is whole is not used again: a write that failed may have left objects that no search by vector finds.
"""

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.errors import UserError

if TYPE_CHECKING:
    from weaviate import WeaviateClient

CONTENT = "Chunks_"
PREFIX = "Passages_"
SPARE, UNFINISHED = "spare", "unfinished"


class Place(NamedTuple):
    """A collection of ours. Places compare by age: what is later finished is greater."""

    number: int  # of the build that finished it last; 0: a spare; -1: unfinished
    name: str
    digest: str | None  # of the content; None: a spare, or unfinished
    aliases: tuple[str, ...]  # that others gave it, a release's for example; the content's own name is not among them


def content_name(digest: str) -> str:
    return CONTENT + digest[:12]


def found(client: "WeaviateClient") -> list[Place]:
    """All places, oldest first."""
    named: dict[str, list[str]] = {}
    for alias in client.alias.list_all().values():
        named.setdefault(alias.collection, []).append(alias.alias)
    ours = [(name, config.description or "") for name, config in client.collections.list_all(simple=True).items() if name.startswith((PREFIX, CONTENT))]
    return sorted(_place(name, description, named.get(name, [])) for name, description in ours)


def _place(name: str, description: str, aliases: list[str]) -> Place:
    first, _, digest = description.partition(" ")
    finished = first.isdecimal()
    return Place(int(first) if finished else 0 if description == SPARE else -1, name, digest if finished else None, tuple(sorted(alias for alias in aliases if not alias.startswith(CONTENT))))


def holding(client: "WeaviateClient", digest: str) -> Place | None:
    """The finished place with this content."""
    return next((place for place in found(client) if place.digest == digest), None)


def named(client: "WeaviateClient", name: str) -> str | None:
    """The place that a content's name stands for; any other collection is itself. None where there is no such collection."""
    alias = client.alias.get(alias_name=name)
    held = alias.collection if alias is not None else name
    return held if client.collections.exists(held) else None


def shown(client: "WeaviateClient", collection: str) -> str:
    """What people call a collection: a place by the name of its content."""
    place = next((place for place in found(client) if place.name == collection), None)
    return collection if place is None or place.digest is None else content_name(place.digest)


def whole(client: "WeaviateClient") -> list[Place]:
    """The places that were written to their end, oldest first."""
    return [place for place in found(client) if place.number >= 0]


def reusable(client: "WeaviateClient", keep: int | None) -> Place | None:
    """The place that the next build may overwrite: a spare; else the oldest, once `keep` are there. Never the newest, nor what an alias names."""
    places = [place for place in whole(client) if place.name.startswith(PREFIX)]
    idle = [place for place in places if not place.aliases]
    free = [place for place in idle if place.digest is None]
    if not free and keep is not None and len(places) >= keep:
        free = [place for place in idle if place != places[-1]]
    return free[0] if free else None


def create(client: "WeaviateClient") -> str:
    """A new, empty place, unfinished."""
    from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances

    exact: dict[str, Any] = {"tokenization": Tokenization.FIELD}
    name = PREFIX + secrets.token_hex(6)
    client.collections.create(
        name, description=UNFINISHED, vector_config=Configure.Vectors.self_provided(vector_index_config=Configure.VectorIndex.hnsw(distance_metric=VectorDistances.COSINE)),
        properties=[
            Property(name="chunk_id", data_type=DataType.TEXT, **exact), Property(name="uri", data_type=DataType.TEXT, **exact), Property(name="title", data_type=DataType.TEXT),
            Property(name="headings", data_type=DataType.TEXT_ARRAY), Property(name="text", data_type=DataType.TEXT),
            Property(name="start", data_type=DataType.INT), Property(name="end", data_type=DataType.INT), Property(name="pages", data_type=DataType.INT_ARRAY),
        ],
    )  # fmt: skip
    return name


def spare(client: "WeaviateClient", name: str) -> None:
    """Say that a place is whole, and that nobody needs it."""
    client.collections.use(name).config.update(description=SPARE)


def claim(client: "WeaviateClient", name: str) -> str:
    """Mark a place as being written, and let no content's name stand for it any more. Returns the mark."""
    mark = f"{UNFINISHED} {secrets.token_hex(6)}"
    client.collections.use(name).config.update(description=mark)
    for alias in client.alias.list_all().values():
        if alias.collection == name and alias.alias.startswith(CONTENT):
            client.alias.delete(alias_name=alias.alias)
    return mark


def finish(client: "WeaviateClient", name: str, mark: str, digest: str) -> None:
    """Say that this content is in the place, as the newest of all. Raises UserError where somebody else has claimed it since `mark`."""
    collection = client.collections.use(name)
    if collection.config.get(simple=True).description != mark:
        raise UserError(f"another build writes to Weaviate at the same time and took the collection {name}: run the same command again when it has ended")
    renew(client, name, digest)


def renew(client: "WeaviateClient", name: str, digest: str) -> None:
    """Let a place with this content be the newest, and the content's name stand for it, with all names of the place that it stood for: damaged, or deleted by somebody."""
    number = 1 + max((place.number for place in whole(client)), default=0)
    client.collections.use(name).config.update(description=f"{number} {digest}")
    called = content_name(digest)
    alias = client.alias.get(alias_name=called)
    before = alias.collection if alias is not None else called  # a collection of that very name: made before there were places
    for other in [other.alias for other in client.alias.list_all().values() if other.collection == before]:
        give_name(client, other, name)
    if alias is None:
        client.collections.delete(called)
        give_name(client, called, name)


def give_name(client: "WeaviateClient", alias: str, name: str) -> None:
    """Let `alias` stand for the collection, in one call."""
    current = client.alias.get(alias_name=alias)
    if current is None:
        client.alias.create(alias_name=alias, target_collection=name)
    elif current.collection != name:
        client.alias.update(alias_name=alias, new_target_collection=name)


def retire(client: "WeaviateClient", digest: str, keep: int) -> list[str]:
    """Remove the oldest places beyond `keep`, never the one with this content, nor what an alias names; one stays that the next build can overwrite. Returns their contents' names."""
    places = whole(client)
    removable = [place for place in places if not place.aliases and place.digest != digest]
    num = min(len(places) - keep, len(removable) - min(1, keep - 1))
    gone = removable[: max(0, num)]
    for place in gone:
        remove(client, place)
    return [content_name(place.digest) if place.digest else place.name for place in gone]


def remove_unfinished(client: "WeaviateClient") -> list[str]:
    """Remove the places that a build did not write to its end. Returns their names."""
    gone = [place for place in found(client) if place.number < 0 and place.name.startswith(PREFIX) and not place.aliases]
    for place in gone:
        remove(client, place)
    return [place.name for place in gone]


def remove(client: "WeaviateClient", place: Place) -> None:
    """Delete a place, and the name of its content where that still stands for it."""
    if place.digest is not None:
        alias = client.alias.get(alias_name=content_name(place.digest))
        if alias is not None and alias.collection == place.name:
            client.alias.delete(alias_name=content_name(place.digest))
    client.collections.delete(place.name)
