"""Asks the served assistant: whole answers by HTTP, streamed and cancellable ones by gRPC. Writes feedback.

    from pipelines.serving.client import ask, feedback
    answer = ask("How do I add documents?")
    feedback(answer.request_id, who="ada", thumb=1)

The server is this clone's live one (`make serve`), or the one that ASSISTANT_URL names (http://host:port; ASSISTANT_GRPC_PORT for streams).
"""

import datetime
import json
import os
import queue
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pipelines import files, place
from pipelines.contracts.traffic import FEEDBACK
from pipelines.errors import UserError
from pipelines.serving.server import Triton

MODEL = "assistant"
LIVE = "serving/live.json"  # in the clone's .state: ports of the live server


class AskError(UserError):
    """The assistant did not answer. `status` as in the traffic log: failed, rejected or cancelled."""

    def __init__(self, message: str):
        super().__init__(message)
        found = re.match(r"(?:.*: )?(failed|rejected|cancelled): ", message, re.DOTALL)
        self.status = found[1] if found else "failed"


@dataclass(frozen=True)
class Answer:
    """What came back. `citations`: chunk_id, uri, headings, pages, start and end (characters in the document), score."""

    text: str
    request_id: str
    release_id: str
    refused: bool
    citations: list[dict[str, Any]] = field(default_factory=list)
    num_prompt_tokens: int = 0
    num_new_tokens: int = 0


def server() -> Triton:
    """The server to ask. Raises UserError with the remedy where none is known."""
    url = os.environ.get("ASSISTANT_URL")
    if url:
        parts = urlparse(url)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise UserError(f"ASSISTANT_URL: {url!r} is no address: write it as http://host:8000")
        return Triton(parts.port, int(os.environ.get("ASSISTANT_GRPC_PORT", "8001")), 0, Path(os.devnull), None, parts.hostname)
    live = place.shared_state() / LIVE
    if not live.exists():
        raise UserError("no assistant is served here: `make serve` starts it (or set ASSISTANT_URL)")
    ports = json.loads(live.read_text())
    return Triton(ports["http_port"], ports["grpc_port"], ports["metrics_port"], live.with_name("server.log"), None)


def ask(question: str, *, tenant: str = "default", request_id: str | None = None, max_new_tokens: int = 0, seconds: float = 60.0, model: str = MODEL, triton: Triton | None = None) -> Answer:
    """One whole answer. Raises AskError with the server's message; UserError where nobody answers at the address."""
    inputs = {"question": question, "tenant": tenant, "request_id": request_id or uuid.uuid4().hex, "max_new_tokens": max_new_tokens, "timeout_seconds": seconds, "stream": False}
    asked = triton or server()
    try:
        return _answer(asked.generate(model, inputs, seconds + 5))
    except OSError as error:
        raise AskError(f"no answer from {asked.url}: {error or type(error).__name__} (`make serve` starts the assistant)") from error
    except UserError as error:
        raise AskError(str(error)) from error


def stream(question: str, *, tenant: str = "default", request_id: str | None = None, seconds: float = 60.0, model: str = MODEL, triton: Triton | None = None) -> Iterator[str | Answer]:
    """Pieces of text as they come, then the whole Answer. Closing the iterator cancels the request. Raises AskError."""
    import numpy as np
    from tritonclient.grpc import InferInput
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype

    given: dict[str, Any] = {name: np.array([text.encode()], dtype=np.object_) for name, text in (("question", question), ("tenant", tenant), ("request_id", request_id or uuid.uuid4().hex))}
    given |= {"timeout_seconds": np.array([seconds], dtype=np.float32), "stream": np.array([True])}
    inputs = []
    for name, value in given.items():
        made = InferInput(name, [1], np_to_triton_dtype(value.dtype))
        made.set_data_from_numpy(value)
        inputs.append(made)
    responses: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client, ended = (triton or server()).client(), False
    try:
        client.start_stream(callback=lambda result, error: responses.put((result, error)), stream_timeout=seconds + 5)
        client.async_stream_infer(model, inputs)
        while not ended:
            result, error = responses.get(timeout=seconds + 10)
            if error is not None:
                raise AskError(str(error))
            outputs = {name: result.as_numpy(name).reshape(-1)[0] for name in ("piece", "answer", "request_id", "release_id", "citations", "refused", "num_prompt_tokens", "num_new_tokens", "final")}
            outputs = {name: value.decode() if isinstance(value, bytes) else value.item() for name, value in outputs.items()}
            if outputs["piece"]:
                yield str(outputs["piece"])
            ended = bool(outputs["final"])
        yield _answer(outputs)
    except (InferenceServerException, queue.Empty) as error:
        raise AskError(str(error) or "no answer came in time") from error
    finally:
        client.stop_stream(cancel_requests=not ended)
        client.close()


def feedback(request_id: str, *, who: str, thumb: int | None = None, correction: str | None = None, comment: str | None = None, folder: Path | None = None) -> Path:
    """Write one feedback (contracts/traffic.py) beside the traffic log; returns its file. Raises UserError for an empty or impossible one."""
    if not request_id.strip() or not who.strip():
        raise UserError("feedback names the request (its id came with the answer) and who gives it")
    if thumb not in (None, 1, -1):
        raise UserError(f"a thumb is 1 (up) or -1 (down), not {thumb}")
    if thumb is None and not (correction or comment):
        raise UserError("feedback says something: a thumb, a correction or a comment")
    now = datetime.datetime.now(datetime.UTC)
    path = (folder or traffic_folder()) / "feedback" / f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
    files.write(path, FEEDBACK, [{"request_id": request_id, "time": now, "who": who, "thumb": thumb, "correction": correction or None, "comment": comment or None}])
    return path


def traffic_folder() -> Path:
    """data/traffic of the clone's main work tree, whatever work tree this runs in."""
    return place.shared_state().parent / "data/traffic"


def _answer(outputs: dict[str, Any]) -> Answer:
    return Answer(
        text=str(outputs["answer"]), request_id=str(outputs["request_id"]), release_id=str(outputs["release_id"]), refused=bool(outputs["refused"]), citations=json.loads(str(outputs["citations"])),
        num_prompt_tokens=int(outputs["num_prompt_tokens"]), num_new_tokens=int(outputs["num_new_tokens"]),
    )  # fmt: skip
