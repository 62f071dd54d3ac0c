"""Weaviate aliases: names to search through, moved to another collection and back in one call.

`<alias>_previous` names the collection that `<alias>` named before. Both are in Weaviate, so that
every client sees the same.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pipelines.errors import Unreachable, UserError
from pipelines.vectorstore import stored_collections
from pipelines.vectorstore.weaviate_client import open_client

if TYPE_CHECKING:
    from weaviate import WeaviateClient

PREVIOUS = "_previous"
WITHHELD = "_withheld"


class AliasState(NamedTuple):
    """The collection that an alias names, and the one that it named before."""

    current: str | None
    previous: str | None


def point_alias(alias: str, collection: str) -> None:
    """Let `alias` name this collection; `move_alias_back` returns to what it named before.

    Raises UserError if there is no such collection.
    """
    with open_client() as client:
        target = stored_collections.resolve(client, collection)
        if target is None:
            raise UserError(
                f"Weaviate has no collection {collection}, so {alias} stays as it is: "
                "`dvc repro index` at that release's files creates it"
            )
        current = _target(client, alias)
        if current == target:
            return
        if current is not None:
            stored_collections.set_alias(client, alias + PREVIOUS, current)
        stored_collections.set_alias(client, alias, target)


def move_alias_back(alias: str) -> AliasState:
    """Let `alias` name what it named before, and the other way round.

    Returns the new state. Raises UserError if there is nothing to go back to.
    """
    with open_client() as client:
        current = _target(client, alias)
        previous = _target(client, alias + PREVIOUS)
        if current is None or previous is None:
            raise UserError(
                f"the alias {alias} has no previous collection: it was moved fewer than two times"
            )
        stored_collections.set_alias(client, alias, previous)
        stored_collections.set_alias(client, alias + PREVIOUS, current)
        return AliasState(
            current=stored_collections.display_name(client, previous),
            previous=stored_collections.display_name(client, current),
        )


def alias_state(alias: str) -> AliasState:
    with open_client() as client:
        return AliasState(
            current=_target_name(client, alias),
            previous=_target_name(client, alias + PREVIOUS),
        )


def remove_alias(alias: str) -> None:
    """Forget the alias; its collections stay until `index` retires them."""
    with open_client() as client:
        for name in (alias, alias + PREVIOUS):
            if _target(client, name) is not None:
                client.alias.delete(alias_name=name)


@contextmanager
def withhold_alias(alias: str) -> Iterator[None]:
    """Remove the alias while the block runs, as an accident would, and restore it afterwards.

    A second alias keeps its collection from being overwritten meanwhile.
    """
    substitute = alias + WITHHELD
    with open_client() as client:
        current = _target(client, alias)
        if current is not None:
            stored_collections.set_alias(client, substitute, current)
            client.alias.delete(alias_name=alias)
    try:
        yield
    finally:
        if current is not None:
            with open_client() as client:
                stored_collections.set_alias(client, alias, current)
                client.alias.delete(alias_name=substitute)


class AliasReader:
    """Says what an alias names, for those who ask at each request: its client stays connected.

    It connects when it is first asked. Several threads may ask at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._client: WeaviateClient | None = None

    def read_content(self, alias: str) -> str | None:
        """The collection behind an alias and what is in it; None if there is no such alias.

        A collection's name alone would not do: a later build may fill it anew. Raises Unreachable.
        """
        import httpx
        from weaviate.exceptions import WeaviateBaseError

        try:
            client = self._connect()
            entry = client.alias.get(alias_name=alias)
            if entry is None:
                return None
            description = stored_collections.read_description(client, entry.collection)
        except (WeaviateBaseError, httpx.HTTPError) as error:
            self.close()  # the server may have started anew on another port
            raise Unreachable(f"Weaviate does not say what {alias} names: {error}") from error
        return f"{entry.collection}: {description}"

    def close(self) -> None:
        with self._lock:
            self._client = None
            self._stack.close()

    def _connect(self) -> "WeaviateClient":
        with self._lock:
            if self._client is None:
                self._client = self._stack.enter_context(open_client())
            return self._client


def _target(client: "WeaviateClient", alias: str) -> str | None:
    """The collection behind an alias, by the name that Weaviate gives it."""
    entry = client.alias.get(alias_name=alias)
    return entry.collection if entry is not None else None


def _target_name(client: "WeaviateClient", alias: str) -> str | None:
    """The collection behind an alias, by the name that people use."""
    target = _target(client, alias)
    return stored_collections.display_name(client, target) if target is not None else None
