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
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlparse

from . import character_pairs, readers
from .readers import Groups

FUSION = "relativeScoreFusion"  # both scores are scaled to 0..1 over the candidates and added
# By words.
SEARCHED_PROPERTIES = ("text", "title", "headings", character_pairs.PROPERTY)
RETURNED_PROPERTIES = (
    *("chunk_id", "uri", "title", "headings", "pages"),
    *("table_head", "text", "start", "end"),
)
RETURNED_FIELDS = " ".join(RETURNED_PROPERTIES)
VECTOR_FIELD = "_additional { vectors { default } }"
NUM_ATTEMPTS = 2  # the server may have closed a connection that was kept open
MAX_QUOTED_BYTES = 200  # of an answer that is not what it should be


def complete_text(text: str, table_head: str | None) -> str:
    """A passage's text as it is shown: after the head of its table, if it begins among the rows."""
    return f"{table_head}\n{text}" if table_head else text


class Query(NamedTuple):
    """What is searched for, and on behalf of whom."""

    question: str  # its words, for BM25
    vector: list[float]  # its unit vector
    alpha: float  # weight of the vector: 1 is the vector alone, 0 the words alone
    groups: Groups = ()  # of the asker


class SearchError(Exception):
    """The index did not answer, or not as it should; the text says why."""


class Response(NamedTuple):
    """What Weaviate answered."""

    status: int
    content: bytes

    def json(self) -> dict[str, Any]:
        """Raises SearchError if it is an error, or no JSON."""
        try:
            if self.status == HTTPStatus.OK:
                answer: dict[str, Any] = json.loads(self.content)
                return answer
        except ValueError:
            pass  # what was said instead is in the message
        quote = self.content[:MAX_QUOTED_BYTES].decode(errors="replace")
        raise SearchError(f"the knowledge index answered {self.status}: {quote}")


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

    def search(self, query: Query, limit: int) -> list[dict[str, Any]]:
        """The best `limit` passages that the asker may read, best first.

        A passage has RETURNED_PROPERTIES, its text complete, and `score`, the cosine with the
        question. Raises SearchError.
        """
        passages = self._get(_hybrid(query, limit), f"{RETURNED_FIELDS} {VECTOR_FIELD}")
        # Any question has nearest passages, unless its asker may read none, or the server has just
        # started and has not read its files yet.
        if not passages and not self._get("limit: 1", RETURNED_PROPERTIES[0]):
            raise SearchError(
                "the knowledge index holds no passages: it is starting, or it is empty"
            )
        for passage in passages:
            passage["text"] = complete_text(passage["text"], passage.pop("table_head"))
            passage_vector = passage.pop("_additional")["vectors"]["default"]
            passage["score"] = sum(map(operator.mul, query.vector, passage_vector))
        return passages

    def _get(self, arguments: str, fields: str) -> list[dict[str, Any]]:
        """Objects of the collection, by GraphQL."""
        collection = self._stored_name()
        query = f"{{ Get {{ {collection}({arguments}) {{ {fields} }} }} }}"
        answer = self._ask("POST", "/v1/graphql", json.dumps({"query": query})).json()
        if answer.get("errors"):
            message = answer["errors"][0].get("message")
            raise SearchError(f"the knowledge index refused the search: {message}")
        objects: list[dict[str, Any]] = answer["data"]["Get"][collection]
        return objects

    def _stored_name(self) -> str:
        """The name of the collection that an alias names now.

        Weaviate's GraphQL takes no alias where there is a filter (weaviate #8995).
        """
        response = self._ask("GET", f"/v1/aliases/{self._collection}")
        if response.status == HTTPStatus.NOT_FOUND:
            return self._collection
        return str(response.json()["class"])

    def _ask(self, method: str, path: str, body: str | None = None) -> Response:
        """If a connection that was kept open turns out to be closed, a new one is tried, once."""
        reason: Exception | None = None
        for _ in range(NUM_ATTEMPTS):
            open_connection = getattr(self._thread, "connection", None)
            connection = open_connection or self._connect()
            try:
                connection.request(method, path, body=body, headers=self._headers)
                with connection.getresponse() as response:
                    return Response(response.status, response.read())
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._thread.connection = None
                reason = error
                if open_connection is None:
                    break
        raise SearchError(
            f"the knowledge index cannot be reached: {reason or type(reason).__name__}"
        )

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout_seconds)
        self._thread.connection = connection
        return connection


def _hybrid(query: Query, limit: int) -> str:
    """The arguments of a hybrid search over what the asker may read."""
    parameters = (
        f"query: {json.dumps(character_pairs.with_pairs(query.question))}",
        f"vector: {json.dumps(query.vector)}",
        f"alpha: {query.alpha}",
        f"fusionType: {FUSION}",
        f"properties: {json.dumps(SEARCHED_PROPERTIES)}",
    )
    condition = (
        f"path: {json.dumps([readers.PROPERTY])}",
        "operator: ContainsAny",
        f"valueText: {json.dumps(readers.memberships(query.groups))}",
    )
    hybrid = f"hybrid: {{{', '.join(parameters)}}}"
    return f"{hybrid}, where: {{{', '.join(condition)}}}, limit: {limit}"
