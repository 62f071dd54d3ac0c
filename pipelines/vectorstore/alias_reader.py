"""Says what an alias names, for who asks at each request: its client stays connected."""

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pipelines.errors import Unreachable
from pipelines.vectorstore import stored_collections
from pipelines.vectorstore.weaviate_client import open_client

if TYPE_CHECKING:
    from weaviate import WeaviateClient


class AliasReader:
    """Connects when it is first asked. Several threads may ask at once."""

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
