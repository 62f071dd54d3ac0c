"""Hybrid search over one collection, inside Triton: over HTTP, with the standard library alone.

pipelines/vectorstore/search.py is the same search through Weaviate's client. Both use the constants
of this file, and tests/runtime/test_passage_search.py shows that both return the same passages.
The address and the key come from the environment (WEAVIATE_URL, WEAVIATE_API_KEY), never from the
model repository.
"""

import http.client
import json
import operator
import os
import threading
from typing import Any
from urllib.parse import urlparse

FUSION = "relativeScoreFusion"  # both scores are scaled to 0..1 over the candidates and added
SEARCHED_PROPERTIES = ("text", "title", "headings")  # by words
RETURNED_PROPERTIES = (
    *("chunk_id", "uri", "title", "headings", "pages"),
    *("table_head", "text", "start", "end"),
)
NUM_ATTEMPTS = 2  # the server may have closed a connection that was kept open
MAX_QUOTED_BYTES = 200  # of an answer that is not what it should be


def complete_text(text: str, table_head: str | None) -> str:
    """A passage's text as it is shown: after the head of its table, if it begins among the rows."""
    return f"{table_head}\n{text}" if table_head else text


class SearchError(Exception):
    """The index did not answer, or not as it should; the text says why."""


class Index:
    """One collection; each thread keeps a connection open."""

    def __init__(self, collection: str, timeout_seconds: float):
        url = os.environ.get("WEAVIATE_URL", "")
        parts = urlparse(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SearchError(
                f"WEAVIATE_URL: {url!r} is not a valid URL: "
                "set it to http://host:8080 or https://host where Triton runs"
            )
        self._is_secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._headers = {"Content-Type": "application/json"}
        if key := os.environ.get("WEAVIATE_API_KEY"):
            self._headers["Authorization"] = f"Bearer {key}"
        self._collection = collection
        self._timeout_seconds = timeout_seconds
        self._thread = threading.local()

    def search(
        self, question: str, vector: list[float], alpha: float, limit: int
    ) -> list[dict[str, Any]]:
        """The best `limit` passages for a question's words (BM25) and its unit vector, best first.

        `alpha` is the weight of the vector: 1 is the vector alone, 0 the words alone. A passage has
        RETURNED_PROPERTIES, its text complete, and `score`, the cosine with the question. Raises
        SearchError.
        """
        query = self._query(question, vector, alpha, limit)
        answer = self._ask(json.dumps({"query": query}))
        if answer.get("errors"):
            message = answer["errors"][0].get("message")
            raise SearchError(f"the knowledge index refused the search: {message}")
        passages: list[dict[str, Any]] = answer["data"]["Get"][self._collection]
        if not passages:
            # Any question has nearest passages, unless the server has just started and has not read
            # its files yet.
            raise SearchError(
                "the knowledge index holds no passages: it is starting, or it is empty"
            )
        for passage in passages:
            passage["text"] = complete_text(passage["text"], passage.pop("table_head"))
            passage_vector = passage.pop("_additional")["vectors"]["default"]
            passage["score"] = sum(map(operator.mul, vector, passage_vector))
        return passages

    def _query(self, question: str, vector: list[float], alpha: float, limit: int) -> str:
        """GraphQL."""
        parameters = [
            f"query: {json.dumps(question)}",
            f"vector: {json.dumps(vector)}",
            f"alpha: {alpha}",
            f"fusionType: {FUSION}",
            f"properties: {json.dumps(SEARCHED_PROPERTIES)}",
        ]
        hybrid = f"hybrid: {{{', '.join(parameters)}}}"
        fields = f"{' '.join(RETURNED_PROPERTIES)} _additional {{ vectors {{ default }} }}"
        return f"{{ Get {{ {self._collection}({hybrid}, limit: {limit}) {{ {fields} }} }} }}"

    def _ask(self, body: str) -> dict[str, Any]:
        """If a connection that was kept open turns out to be closed, a new one is tried, once."""
        reason: Exception | None = None
        for _ in range(NUM_ATTEMPTS):
            open_connection = getattr(self._thread, "connection", None)
            connection = open_connection or self._connect()
            try:
                return self._post(connection, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                self._thread.connection = None
                reason = error
                if open_connection is None:
                    break
        raise SearchError(
            f"the knowledge index cannot be reached: {reason or type(reason).__name__}"
        )

    def _post(self, connection: http.client.HTTPConnection, body: str) -> dict[str, Any]:
        connection.request("POST", "/v1/graphql", body=body, headers=self._headers)
        with connection.getresponse() as response:
            content = response.read()
        if response.status != 200:
            quote = content[:MAX_QUOTED_BYTES].decode(errors="replace")
            raise SearchError(f"the knowledge index answered {response.status}: {quote}")
        answer: dict[str, Any] = json.loads(content)
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout_seconds)
        self._thread.connection = connection
        return connection
