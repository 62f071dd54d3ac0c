"""Weaviate aliases: a name that others search through, moved from one verified collection to the next in one call, and back.

`<alias>_previous` names the collection that `<alias>` named before; both are in Weaviate, so that every client sees the same.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.vectorstore.collections import opened
from pipelines.vectorstore.server import session

if TYPE_CHECKING:
    from weaviate import WeaviateClient

PREVIOUS = "_previous"


def point(alias: str, receipt: Receipt, chunks: Path, vectors: Path, sample: int) -> None:
    """Let `alias` name the receipt's collection, which is verified, or rebuilt, before. Repeatable after a kill."""
    with session() as client, opened(receipt, chunks, vectors, sample):
        current = named(client, alias)
        if current == receipt.collection:
            return
        if current is not None:
            _set(client, alias + PREVIOUS, current)
        _set(client, alias, receipt.collection)


def back(alias: str) -> tuple[str, str]:
    """Let `alias` name what it named before, and the other way round; returns (now, before). Raises UserError where there is nothing to go back to."""
    with session() as client:
        current, previous = named(client, alias), named(client, alias + PREVIOUS)
        if current is None or previous is None:
            raise UserError(f"the alias {alias} has no previous collection: `python -m pipelines alias` moved it fewer than two times")
        if not client.collections.exists(previous):
            raise UserError(f"the previous collection {previous} of the alias {alias} is no longer there: check out its data (`git checkout`, `dvc checkout`), then `python -m pipelines alias`")
        _set(client, alias, previous)
        _set(client, alias + PREVIOUS, current)
        return previous, current


def state(alias: str) -> tuple[str | None, str | None]:
    """(collection that the alias names, the one before)."""
    with session() as client:
        return named(client, alias), named(client, alias + PREVIOUS)


def named(client: "WeaviateClient", alias: str) -> str | None:
    """The collection that an alias names."""
    found = client.alias.get(alias_name=alias)
    return found.collection if found is not None else None


def _set(client: "WeaviateClient", alias: str, collection: str) -> None:
    if named(client, alias) is None:
        client.alias.create(alias_name=alias, target_collection=collection)
    else:
        client.alias.update(alias_name=alias, new_target_collection=collection)
