"""The collections that Weaviate stores, and the contents that are in them.

A collection cannot be renamed, so it is called `Passages_<random>`, and an alias `Chunks_<digest>`
says which content is in it. Its description says the same to us: `<number of the build> <digest>`,
and ` erased` after that if passages of the content were erased, so that it is used as it is;
`spare` while nobody needs it; `unfinished <token>` while it is written. A collection whose
description does not say that it is complete is not used again: a write that failed may have left
objects that no search by vector finds.

A collection of at most EXACT_UP_TO_OBJECTS is exact: its vectors are compared one by one (a flat
index), and it is written once and never changed, so that it answers as any other with its content.
Changes leave traces: BM25 counts the removed passages' words, and a graph leads elsewhere.
"""

import secrets
from collections import defaultdict
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.errors import UserError
from pipelines.runtime import character_pairs, readers
from pipelines.system import locks, paths

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.classes.config import Property
    from weaviate.collections.classes.config import CollectionConfigSimple

CONTENT = "Chunks_"
PREFIX = "Passages_"
SPARE_MARK = "spare"
UNFINISHED_MARK = "unfinished"
ERASED_MARK = "erased"
# On 2 busy cores, 10,000 objects of 384 dimensions took 13 s to write and 15 ms a hybrid search,
# with a graph (HNSW) 40 s and 16 ms. 50,000 took 107 s to write, too much for one changed page.
EXACT_UP_TO_OBJECTS = 10_000
SPARE_NUMBER = 0
UNFINISHED_NUMBER = -1


class StoredCollection(NamedTuple):
    """A collection of ours. They compare by age: the one finished last is the greatest."""

    number: int  # of the build that finished it last; SPARE_NUMBER; UNFINISHED_NUMBER
    name: str
    digest: str | None  # of the content; None: a spare, or unfinished
    aliases: tuple[str, ...]  # a release's for example; the content's own name is not among them
    is_exact: bool  # whether a search by vector compares every object
    is_partial: bool = False  # whether passages of the content were erased


def lock_builds() -> AbstractContextManager[None]:
    """One process of this clone at a time fills, verifies or replaces collections."""
    return locks.exclusive(paths.state_folder() / "weaviate" / "build.lock")


def content_name(digest: str) -> str:
    return CONTENT + digest[:12]


def list_stored(client: "WeaviateClient") -> list[StoredCollection]:
    """All collections of ours, oldest first."""
    aliases: dict[str, list[str]] = defaultdict(list)
    for entry in client.alias.list_all().values():
        aliases[entry.collection].append(entry.alias)
    collections: list[StoredCollection] = []
    for name, config in client.collections.list_all(simple=True).items():
        if name.startswith((PREFIX, CONTENT)):
            collections.append(_describe(config, aliases[name]))
    return sorted(collections)


def _describe(config: "CollectionConfigSimple", aliases: list[str]) -> StoredCollection:
    description = config.description or ""
    first_word, _, rest = description.partition(" ")
    foreign_aliases = [alias for alias in aliases if not alias.startswith(CONTENT)]
    named_by = tuple(sorted(foreign_aliases))
    is_exact = _has_flat_index(config)
    if first_word.isdecimal():
        digest, _, mark = rest.partition(" ")
        is_partial = mark == ERASED_MARK
        return StoredCollection(
            int(first_word), config.name, digest, named_by, is_exact, is_partial
        )
    number = SPARE_NUMBER if description == SPARE_MARK else UNFINISHED_NUMBER
    return StoredCollection(number, config.name, None, named_by, is_exact)


def _has_flat_index(config: "CollectionConfigSimple") -> bool:
    vector_config = (config.vector_config or {}).get("default")
    return vector_config is not None and (
        vector_config.vector_index_config.vector_index_type() == "flat"
    )


def must_be_exact(num_objects: int) -> bool:
    """Whether a collection of so many objects is exact, and so is never changed."""
    return num_objects <= EXACT_UP_TO_OBJECTS


def find_content(client: "WeaviateClient", digest: str) -> StoredCollection | None:
    """The finished collection with this content."""
    for collection in list_stored(client):
        if collection.digest == digest:
            return collection
    return None


def resolve(client: "WeaviateClient", name: str) -> str | None:
    """The collection that an alias or a content's name stands for; any other name is itself.

    None if there is no such collection.
    """
    alias = client.alias.get(alias_name=name)
    collection = alias.collection if alias is not None else name
    return collection if client.collections.exists(collection) else None


def display_name(client: "WeaviateClient", name: str) -> str:
    """What people call a collection: one of ours by the name of its content."""
    for collection in list_stored(client):
        if collection.name == name and collection.digest is not None:
            return content_name(collection.digest)
    return name


def read_description(client: "WeaviateClient", name: str) -> str:
    """What a collection says about its content."""
    return client.collections.use(name).config.get(simple=True).description or ""


def list_complete(client: "WeaviateClient") -> list[StoredCollection]:
    """The collections that were written to their end, spares included, oldest first."""
    return [collection for collection in list_stored(client) if collection.number >= SPARE_NUMBER]


def find_reusable(client: "WeaviateClient", keep: int | None) -> StoredCollection | None:
    """The collection that the next build may overwrite, or None.

    It is a spare; else the oldest, once there are `keep`. It is never the newest, nor one that an
    alias names, nor an exact one.
    """
    complete = list_complete(client)
    collections = [collection for collection in complete if collection.name.startswith(PREFIX)]
    idle = [collection for collection in collections if not collection.aliases]
    changeable = [collection for collection in idle if not collection.is_exact]
    for collection in changeable:
        if collection.digest is None:
            return collection
    if keep is None or len(collections) < keep:
        return None
    if not changeable or changeable[0] == collections[-1]:
        return None
    return changeable[0]


def create(client: "WeaviateClient", num_objects: int) -> str:
    """A new, empty, unfinished collection for so many objects; returns its name."""
    from weaviate.classes.config import Configure, VectorDistances

    name = PREFIX + secrets.token_hex(6)
    kinds = Configure.VectorIndex
    kind = kinds.flat if must_be_exact(num_objects) else kinds.hnsw
    vector_index = kind(distance_metric=VectorDistances.COSINE)
    client.collections.create(
        name,
        description=UNFINISHED_MARK,
        vector_config=Configure.Vectors.self_provided(vector_index_config=vector_index),
        properties=_properties(),
    )
    return name


def _properties() -> "list[Property]":
    from weaviate.classes.config import DataType, Property, Tokenization

    as_a_whole: dict[str, Any] = {"tokenization": Tokenization.FIELD}
    return [
        Property(name="chunk_id", data_type=DataType.TEXT, **as_a_whole),
        Property(name="uri", data_type=DataType.TEXT, **as_a_whole),
        Property(name="title", data_type=DataType.TEXT),
        Property(name="headings", data_type=DataType.TEXT_ARRAY),
        Property(name="table_head", data_type=DataType.TEXT),
        Property(name="text", data_type=DataType.TEXT),
        Property(name="start", data_type=DataType.INT),
        Property(name="end", data_type=DataType.INT),
        Property(name="pages", data_type=DataType.INT_ARRAY),
        Property(
            name=character_pairs.PROPERTY,
            data_type=DataType.TEXT,
            tokenization=Tokenization.WHITESPACE,
            index_filterable=False,
        ),
        Property(
            name=readers.PROPERTY,
            data_type=DataType.TEXT_ARRAY,
            index_filterable=True,
            index_searchable=False,
            **as_a_whole,
        ),
    ]


def mark_spare(client: "WeaviateClient", name: str) -> None:
    """Say that a collection is complete, and that nobody needs it."""
    client.collections.use(name).config.update(description=SPARE_MARK)


def claim(client: "WeaviateClient", name: str) -> str:
    """Mark a collection as being written, and take its content's name from it.

    Returns the mark, for `finish`.
    """
    mark = f"{UNFINISHED_MARK} {secrets.token_hex(6)}"
    client.collections.use(name).config.update(description=mark)
    for entry in client.alias.list_all().values():
        if entry.collection == name and entry.alias.startswith(CONTENT):
            client.alias.delete(alias_name=entry.alias)
    return mark


def finish(client: "WeaviateClient", name: str, mark: str, digest: str) -> None:
    """Say that this content is in the collection, as the newest of all.

    Raises UserError if another build has claimed it since `mark`.
    """
    collection = client.collections.use(name)
    if collection.config.get(simple=True).description != mark:
        raise UserError(
            "another build writes to Weaviate at the same time and took the collection "
            f"{name}: run the same command again when it has ended"
        )
    mark_newest(client, name, digest)


def mark_newest(client: "WeaviateClient", name: str, digest: str) -> None:
    """Let a collection with this content be the newest, and let the content's name stand for it.

    It inherits all aliases of the collection that the name stood for, which is damaged or was
    deleted by somebody.
    """
    newest_number = max((collection.number for collection in list_complete(client)), default=0)
    client.collections.use(name).config.update(description=f"{newest_number + 1} {digest}")
    own_name = content_name(digest)
    alias = client.alias.get(alias_name=own_name)
    # Without an alias: a collection of that very name, made before names were aliases.
    predecessor = alias.collection if alias is not None else own_name
    for entry in client.alias.list_all().values():
        if entry.collection == predecessor:
            set_alias(client, entry.alias, name)
    if alias is None:
        client.collections.delete(own_name)
        set_alias(client, own_name, name)


def replace(client: "WeaviateClient", collection: StoredCollection, substitute: str) -> None:
    """Let another collection, which lacks passages of its content, take a collection's place.

    It inherits age, content and every alias; the old one is deleted, with what an earlier attempt
    left that was killed.
    """
    names = {collection.name}
    for other in list_stored(client):
        if other.digest == collection.digest and other.is_partial:
            names.add(other.name)
    description = f"{collection.number} {collection.digest} {ERASED_MARK}"
    client.collections.use(substitute).config.update(description=description)
    for entry in client.alias.list_all().values():
        if entry.collection in names:
            set_alias(client, entry.alias, substitute)
    for name in names:
        client.collections.delete(name)
    if collection.digest is not None:
        set_alias(client, content_name(collection.digest), substitute)


def set_alias(client: "WeaviateClient", alias: str, collection: str) -> None:
    """Let `alias` stand for the collection, in one call."""
    current = client.alias.get(alias_name=alias)
    if current is None:
        client.alias.create(alias_name=alias, target_collection=collection)
    elif current.collection != collection:
        client.alias.update(alias_name=alias, new_target_collection=collection)


def retire(client: "WeaviateClient", digest: str, keep: int) -> list[str]:
    """Remove the oldest collections beyond `keep`; returns their contents' names.

    Never the one with this content, nor what an alias names. One stays that the next build can
    overwrite.
    """
    complete = list_complete(client)
    idle = [collection for collection in complete if not collection.aliases]
    removable = [collection for collection in idle if collection.digest != digest]
    num_reserved = min(1, keep - 1)
    num_retired = min(len(complete) - keep, len(removable) - num_reserved)
    names = []
    for collection in removable[: max(0, num_retired)]:
        remove(client, collection)
        names.append(content_name(collection.digest) if collection.digest else collection.name)
    return names


def remove_unfinished(client: "WeaviateClient") -> list[str]:
    """Remove the collections that a build did not write to its end; returns their names."""
    names = []
    for collection in list_stored(client):
        is_ours = collection.name.startswith(PREFIX) and not collection.aliases
        if is_ours and collection.number == UNFINISHED_NUMBER:
            remove(client, collection)
            names.append(collection.name)
    return names


def remove(client: "WeaviateClient", collection: StoredCollection) -> None:
    """Delete a collection, and the name of its content if that still stands for it."""
    if collection.digest is not None:
        own_name = content_name(collection.digest)
        alias = client.alias.get(alias_name=own_name)
        if alias is not None and alias.collection == collection.name:
            client.alias.delete(alias_name=own_name)
    client.collections.delete(collection.name)
