"""Weaviate aliases: a name that others search through, moved from one collection to the next in one call, and back.

`<alias>_previous` names the collection that `<alias>` named before; both are in Weaviate, so that every client sees the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.vectorstore import places
from pipelines.vectorstore.server import session

if TYPE_CHECKING:
    from weaviate import WeaviateClient

PREVIOUS, WITHHELD = "_previous", "_withheld"


def point(alias: str, collection: str) -> None:
    """Let `alias` name this collection; what it named before can be gone back to. Raises UserError where there is no such collection."""
    with session() as client:
        place = places.named(client, collection)
        if place is None:
            raise UserError(f"Weaviate has no collection {collection}, so {alias} stays as it is: `dvc repro index` at that release's files makes it")
        current = _target(client, alias)
        if current == place:
            return
        if current is not None:
            places.give_name(client, alias + PREVIOUS, current)
        places.give_name(client, alias, place)


def back(alias: str) -> tuple[str, str]:
    """Let `alias` name what it named before, and the other way round; returns (now, before). Raises UserError where there is nothing to go back to."""
    with session() as client:
        current, previous = _target(client, alias), _target(client, alias + PREVIOUS)
        if current is None or previous is None:
            raise UserError(f"the alias {alias} has no previous collection: it was moved fewer than two times")
        places.give_name(client, alias, previous)
        places.give_name(client, alias + PREVIOUS, current)
        return places.shown(client, previous), places.shown(client, current)


def state(alias: str) -> tuple[str | None, str | None]:
    """(collection that the alias names, the one before)."""
    with session() as client:
        now, before = (_target(client, name) for name in (alias, alias + PREVIOUS))
        return now and places.shown(client, now), before and places.shown(client, before)


def remove(alias: str) -> None:
    """Forget the alias; its collections stay until `index` retires them."""
    with session() as client:
        for name in (alias, alias + PREVIOUS):
            if _target(client, name) is not None:
                client.alias.delete(alias_name=name)


@contextmanager
def withheld(alias: str) -> Iterator[None]:
    """The alias is gone while the block runs, as after an accident, and back after it. Another name keeps its collection from being overwritten meanwhile."""
    kept = alias + WITHHELD
    with session() as client:
        current = _target(client, alias)
        if current is not None:
            places.give_name(client, kept, current)
            client.alias.delete(alias_name=alias)
    try:
        yield
    finally:
        if current is not None:
            with session() as client:
                places.give_name(client, alias, current)
                client.alias.delete(alias_name=kept)


def _target(client: "WeaviateClient", alias: str) -> str | None:
    found = client.alias.get(alias_name=alias)
    return found.collection if found is not None else None
