"""Asks Weaviate for passages, inside Triton: hybrid search (vector and BM25) over HTTP, with the standard library alone.

The address and the key come from the environment (WEAVIATE_URL, WEAVIATE_API_KEY), never from the model repository.
"""

import http.client
import json
import operator
import os
import threading
from typing import Any
from urllib.parse import urlparse


class SearchError(Exception):
    """The index did not answer, or not as it should; the text says why."""


class Index:
    """One collection; a connection a thread is kept open."""

    def __init__(self, collection: str, timeout_seconds: float):
        url = os.environ.get("WEAVIATE_URL", "")
        parts = urlparse(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SearchError(f"WEAVIATE_URL: {url!r} is no address: set it to http://host:8080 or https://host where Triton runs")
        self._https, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        key = os.environ.get("WEAVIATE_API_KEY")
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._collection, self._timeout, self._held = collection, timeout_seconds, threading.local()

    def passages(self, question: str, vector: list[float], alpha: float, limit: int) -> list[dict[str, Any]]:
        """The best passages, best first, as the pipeline's own search finds them; `score` is the cosine with the question. `alpha` 1: the vector alone; 0: words alone."""
        asked = f'query: {json.dumps(question)}, vector: {json.dumps(vector)}, alpha: {alpha}, fusionType: relativeScoreFusion, properties: ["text"]'
        wanted = "chunk_id uri headings pages text start end _additional { vectors { default } }"
        query = f"{{ Get {{ {self._collection}(hybrid: {{{asked}}}, limit: {limit}) {{ {wanted} }} }} }}"
        answer = self._asked(json.dumps({"query": query}))
        if answer.get("errors"):
            raise SearchError(f"the knowledge index refused the search: {answer['errors'][0].get('message')}")
        found = answer["data"]["Get"][self._collection]
        if not found:  # the nearest passages are always found, unless the server has just started and has not read its files yet
            raise SearchError("the knowledge index holds no passages: it is starting, or it is empty")
        stored = [hit.pop("_additional")["vectors"]["default"] for hit in found]
        return [{**hit, "score": sum(map(operator.mul, vector, other))} for hit, other in zip(found, stored, strict=True)]

    def _asked(self, body: str) -> dict[str, Any]:
        """A kept connection may have been closed by the server meanwhile: then a new one is tried, once."""
        last: Exception | None = None
        for _ in range(2):
            kept = getattr(self._held, "connection", None)
            connection = kept or self._connected()
            try:
                connection.request("POST", "/v1/graphql", body=body, headers=self._headers)
                with connection.getresponse() as response:
                    text = response.read()
                    if response.status != 200:
                        raise SearchError(f"the knowledge index answered {response.status}: {text[:200].decode(errors='replace')}")
                found: dict[str, Any] = json.loads(text)
                return found
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                self._held.connection, last = None, error
                if kept is None:
                    break
        raise SearchError(f"the knowledge index cannot be reached: {last or type(last).__name__}")

    def _connected(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        made = kind(self._host, self._port, timeout=self._timeout)
        self._held.connection = made
        return made
