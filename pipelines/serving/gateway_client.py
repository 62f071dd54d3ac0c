"""Asks an assistant on another machine through its gateway, with a key, over https.

ASSISTANT_URL   the gateway: https://assistant.example.com (http only on this machine)
ASSISTANT_KEY   the key; with it, ASSISTANT_URL names a gateway, without it a Triton server
ASSISTANT_CA    a file with the authority's certificate, if no public one has signed the gateway's
"""

import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import httpx

from pipelines.errors import UserError

KEY = "ASSISTANT_KEY"
URL = "ASSISTANT_URL"
CA = "ASSISTANT_CA"
MODEL = "assistant"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CONNECT_SECONDS = 10.0
PREFIX = "data: "
LAST_EVENT = "[DONE]"
THUMBS = {1: "up", -1: "down"}


class Refusal(UserError):
    """The gateway answered with an error. `status` is that of HTTP, or 0 within a stream."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Gateway:
    """A gateway and the key for it."""

    url: str
    key: str
    context: ssl.SSLContext

    @contextmanager
    def connect(self, seconds: float) -> Iterator[httpx.Client]:
        """A connection on which each piece of an answer may take so long."""
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout, verify=self.context
        ) as client:
            yield client


def find() -> Gateway | None:
    """The gateway that the environment names; None: it names none. Raises UserError."""
    key = os.environ.get(KEY)
    if not key:
        return None
    url = os.environ.get(URL, "")
    parts = urlparse(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{URL}: {url!r} is not a gateway's address such as https://host")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UserError(
            f"{URL}: {url!r} would send the key in plain text; use https, or unset {KEY}"
        )
    return Gateway(url.rstrip("/"), key, _context())


def stream(
    gateway: Gateway, text: str, *, max_new_tokens: int, seconds: float
) -> Iterator[str | dict[str, Any]]:
    """Pieces of text as they come, then the outputs of the whole answer by Triton's names.

    Raises Refusal, and UserError if the gateway cannot be reached.
    """
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if max_new_tokens:
        body["max_tokens"] = max_new_tokens
    answer = _Answer()
    try:
        with (
            gateway.connect(seconds) as client,
            client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            _check(response)
            for event in _events(response):
                yield from answer.read(event)
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise UserError(f"no answer from {gateway.url}: {error or type(error).__name__}") from error
    yield answer.outputs()


def give_feedback(gateway: Gateway, feedback: dict[str, Any]) -> None:
    """Send feedback with the fields of POST /v1/feedback. Raises UserError."""
    try:
        with gateway.connect(CONNECT_SECONDS) as client:
            _check(client.post("/v1/feedback", json=feedback))
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise UserError(f"no answer from {gateway.url}: {error or type(error).__name__}") from error


class _Answer:
    """Puts the events of a stream together."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._usage = {"prompt_tokens": 0, "completion_tokens": 0}
        self._id = ""
        self._release_id = ""
        self._is_whole = False

    def read(self, event: dict[str, Any]) -> Iterator[str]:
        """The text of an event, if it has one. Raises Refusal if it is an error."""
        if "error" in event:
            raise Refusal(str(event["error"]["message"]), 0)
        self._id = event["id"]
        self._release_id = event["system_fingerprint"]
        self._usage = event.get("usage") or self._usage
        for choice in event["choices"]:
            delta = choice["delta"]
            self._annotations += delta.get("annotations", [])
            self._is_whole = self._is_whole or choice["finish_reason"] is not None
            if delta.get("content"):
                self._texts.append(delta["content"])
                yield delta["content"]

    def outputs(self) -> dict[str, Any]:
        """Raises Refusal if the stream ended in the middle of the answer."""
        if not self._is_whole:
            raise Refusal("the stream ended before the answer was whole", 0)
        passages = [note["passage"] for note in self._annotations]
        return {
            "answer": "".join(self._texts),
            "request_id": self._id.removeprefix("chatcmpl-"),
            "release_id": self._release_id,
            "citations": json.dumps(passages),
            "refused": None,
            "guard_flags": "",  # a gateway does not say
            "num_prompt_tokens": self._usage["prompt_tokens"],
            "num_new_tokens": self._usage["completion_tokens"],
        }


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        data = line.removeprefix(PREFIX)
        if line.startswith(PREFIX) and data != LAST_EVENT:
            event: dict[str, Any] = json.loads(data)
            yield event


def _check(response: httpx.Response) -> None:
    """Raises Refusal with the gateway's words, or those of a proxy before it."""
    if response.status_code == HTTPStatus.OK:
        return
    text = response.read().decode(errors="replace")
    try:
        message = str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"{response.reason_phrase}: {text[:200]}"
    raise Refusal(f"status {response.status_code}: {message}", response.status_code)


def _context() -> ssl.SSLContext:
    ca = os.environ.get(CA)
    if ca and not Path(ca).is_file():
        raise UserError(f"{CA}: there is no file {ca}")
    try:
        return ssl.create_default_context(cafile=ca or None)
    except ssl.SSLError as error:
        raise UserError(f"{CA}: {ca} holds no certificate in PEM form") from error
