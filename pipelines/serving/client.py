"""Asks the served assistant: whole answers by HTTP, streamed ones by gRPC. Writes feedback.

    from pipelines.serving.client import ask, give_feedback
    answer = ask("How do I add documents?")
    give_feedback(answer.request_id, who="ada", thumb=1)

The server is this clone's live one (`make serve`), or the one that ASSISTANT_URL names
(http://host:port; ASSISTANT_GRPC_PORT for streams, ASSISTANT_METRICS_PORT for its metrics). With
ASSISTANT_KEY it names a gateway instead (gateway_client.py).
"""

import datetime
import json
import os
import queue
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from pipelines import files
from pipelines.contracts.traffic import FEEDBACK
from pipelines.errors import UserError
from pipelines.runtime import guard_actions, readers
from pipelines.runtime.guard_actions import GuardActions
from pipelines.runtime.readers import Groups
from pipelines.runtime.status import Status, from_grpc, parse_user_error
from pipelines.serving import gateway_client, live_record, locations
from pipelines.serving.gateway_client import Gateway, Refusal
from pipelines.serving.triton_connection import Triton

if TYPE_CHECKING:
    from tritonclient.grpc import InferInput, InferResult

MODEL = "assistant"
DEFAULT_TENANT = "default"
MAX_PORT = 65535
SLACK_SECONDS = 5.0  # the server ends a request itself; only then does the client give up
OUTPUTS = (
    *("piece", "answer", "request_id", "release_id", "citations", "guard_flags"),
    *("refused", "num_prompt_tokens", "num_new_tokens", "final"),
)
PIECE_OUTPUTS = ("piece", "release_id", "final")  # all that is read of a piece
INPUT_TYPES = {
    "question": "BYTES",
    "tenant": "BYTES",
    "groups": "BYTES",
    "request_id": "BYTES",
    "max_new_tokens": "INT32",
    "timeout_seconds": "FP32",
    "stream": "BOOL",
    "position": "FP64",
    "guards": "BYTES",
}


class AskError(UserError):
    """The assistant did not answer. `status` says how the request ended, as in the traffic log."""

    def __init__(self, message: str, status: Status = Status.FAILED):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Question:
    """A question with its options. 0 new tokens: as many as the release allows.

    `groups` are those of the asker, who reads what everyone may and what these may.
    `guards` say what is to be done about what guards notice, and what was noticed before.
    `position`, from 0 to 1, chooses the release while two share the traffic; None: chance does.
    """

    text: str
    tenant: str = DEFAULT_TENANT  # who asks, for the traffic log
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    max_new_tokens: int = 0
    timeout_seconds: float = 60.0
    position: float | None = None
    groups: Groups = ()
    guards: GuardActions = GuardActions()  # noqa: RUF009 (it cannot change)

    def inputs(self, *, is_streamed: bool) -> dict[str, Any]:
        """The inputs of the model `assistant`."""
        values = {
            "question": self.text,
            "tenant": self.tenant,
            "request_id": self.request_id,
            "max_new_tokens": self.max_new_tokens,
            "timeout_seconds": self.timeout_seconds,
            "stream": is_streamed,
        }
        if self.groups:
            values["groups"] = readers.write(self.groups)
        if self.position is not None:
            values["position"] = self.position
        if self.guards != GuardActions():
            values["guards"] = guard_actions.write(self.guards)
        return values


@dataclass(frozen=True)
class Answer:
    """What came back.

    A citation holds chunk_id, uri, title, headings, pages, start and end (characters in the
    document), score and text.
    """

    text: str
    request_id: str
    release_id: str
    is_refusal: bool | None  # None: a gateway does not say
    citations: list[dict[str, Any]] = field(default_factory=list)
    num_prompt_tokens: int = 0
    num_new_tokens: int = 0
    guard_flags: list[str] = field(default_factory=list)  # as in the traffic log
    is_cut: bool = False  # it ends where its client's stop text began
    is_blocked: bool = False  # a guard has put other words in its place; the gateway says so


def is_external() -> bool:
    """Whether the server to ask is not this clone's own."""
    return bool(os.environ.get("ASSISTANT_URL"))


def find_server() -> Triton:
    """The server to ask. Raises UserError with the remedy if none is known."""
    if gateway_client.find():
        raise UserError(
            f"{gateway_client.KEY} is set, so {gateway_client.URL} names a gateway, and this takes "
            f"a Triton server: unset {gateway_client.KEY}"
        )
    url = os.environ.get("ASSISTANT_URL")
    if url:
        return _external_server(url)
    record = live_record.read()
    if record is None:
        raise UserError(
            "no assistant is served here: `make serve` starts it (or set ASSISTANT_URL)"
        )
    return record.connect()


def ask(question: str | Question, triton: Triton | None = None) -> Answer:
    """One whole answer.

    Raises AskError with the server's message, and UserError if no server is known.
    """
    question = _with_options(question)
    gateway = None if triton else gateway_client.find()
    if gateway:
        *_, answer = _stream_from_gateway(gateway, question)
        assert isinstance(answer, Answer)
        return answer
    server = triton or find_server()
    limit = question.timeout_seconds + SLACK_SECONDS
    try:
        outputs = server.generate(MODEL, question.inputs(is_streamed=False), limit)
    except OSError as error:
        reason = str(error) or type(error).__name__
        raise AskError(
            f"no answer from {server.url}: {reason} (`make serve` starts the assistant)"
        ) from error
    except UserError as error:
        raise AskError(str(error), parse_user_error(str(error))) from error
    return read_answer(outputs)


def stream(question: str | Question, triton: Triton | None = None) -> Iterator[str | Answer]:
    """Pieces of text as they come, then the whole Answer. Closing it cancels the request.

    Raises AskError with the server's message, and UserError if no server is known.
    """
    question = _with_options(question)
    gateway = None if triton else gateway_client.find()
    if gateway:
        yield from _stream_from_gateway(gateway, question)
    else:
        yield from _stream_from_triton(triton or find_server(), question)


def _stream_from_gateway(gateway: Gateway, question: Question) -> Iterator[str | Answer]:
    """As `stream`. The gateway knows tenant and groups by the key, and chooses release and id."""
    if question.groups:
        raise UserError(
            f"groups {', '.join(question.groups)}: a gateway knows the groups by the key "
            f"({gateway_client.KEY}); leave them out"
        )
    if question.tenant != DEFAULT_TENANT or question.position is not None:
        raise UserError(
            f"tenant {question.tenant!r}: a gateway knows the tenant by the key "
            f"({gateway_client.KEY}) and chooses the release itself; leave both out"
        )
    try:
        for part in gateway_client.stream(
            gateway,
            question.text,
            max_new_tokens=question.max_new_tokens,
            seconds=question.timeout_seconds + SLACK_SECONDS,
        ):
            yield part if isinstance(part, str) else read_answer(part)
    except Refusal as error:
        is_rejected = error.status == HTTPStatus.BAD_REQUEST
        status = Status.REJECTED if is_rejected else Status.FAILED
        raise AskError(str(error), status) from error


def _stream_from_triton(triton: Triton, question: Question) -> Iterator[str | Answer]:
    from tritonclient.utils import InferenceServerException

    results: queue.Queue[InferResult | Exception] = queue.Queue()
    client = triton.client()
    is_complete = False
    try:
        client.start_stream(
            callback=lambda result, error: results.put(error or result),
            stream_timeout=question.timeout_seconds + SLACK_SECONDS,
            # Errors with gRPC's status code, not as a text alone.
            headers={"triton_grpc_error": "true"},
        )
        client.async_stream_infer(MODEL, grpc_inputs(question))
        while not is_complete:
            outputs = _next_outputs(results, question.timeout_seconds + 2 * SLACK_SECONDS)
            is_complete = bool(outputs["final"])
            if outputs["piece"]:
                yield str(outputs["piece"])
        yield read_answer(outputs)
    except InferenceServerException as error:
        code = (error.status() or "").removeprefix("StatusCode.")
        raise AskError(error.message() or str(error), from_grpc(code)) from error
    finally:
        client.stop_stream(cancel_requests=not is_complete)
        client.close()


def give_feedback(
    request_id: str,
    *,
    who: str,
    thumb: int | None = None,
    correction: str | None = None,
    comment: str | None = None,
) -> Path:
    """Write one feedback (contracts/traffic.py) beside the traffic log; returns its file.

    Raises UserError if it is empty or impossible.
    """
    if not request_id.strip() or not who.strip():
        raise UserError("feedback names the request (its id came with the answer) and who gives it")
    if thumb not in (None, 1, -1):
        raise UserError(f"a thumb is 1 (up) or -1 (down), not {thumb}")
    if thumb is None and not (correction or comment):
        raise UserError("feedback needs a thumb, a correction or a comment")
    now = datetime.datetime.now(datetime.UTC)
    row = {
        "request_id": request_id,
        "time": now,
        "who": who,
        "thumb": thumb,
        "correction": correction or None,
        "comment": comment or None,
    }
    name = f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
    path = locations.traffic_folder() / "feedback" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    files.write(path, FEEDBACK, [row])
    path.chmod(0o600)
    return path


def _external_server(url: str) -> Triton:
    parts = urlparse(url)
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        raise UserError(f"ASSISTANT_URL: {url!r} is not a valid URL; use http://host:8000")
    grpc_port = _port("ASSISTANT_GRPC_PORT", 8001)
    metrics_port = _port("ASSISTANT_METRICS_PORT", 8002)
    return Triton(parts.port, grpc_port, metrics_port, Path(os.devnull), None, parts.hostname)


def _port(variable: str, default: int) -> int:
    """The port in a variable of the environment. Raises UserError if there is none in it."""
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) <= MAX_PORT:
        raise UserError(f"{variable}: {text!r} is not a port: use a number such as {default}")
    return int(text)


def _with_options(question: str | Question) -> Question:
    return Question(question) if isinstance(question, str) else question


def grpc_inputs(question: Question, *, is_streamed: bool = True) -> "list[InferInput]":
    """The tensors of a request by gRPC."""
    import numpy as np
    from tritonclient.grpc import InferInput
    from tritonclient.utils import triton_to_np_dtype

    tensors: list[InferInput] = []
    for name, value in question.inputs(is_streamed=is_streamed).items():
        kind = INPUT_TYPES[name]
        content = value.encode() if isinstance(value, str) else value
        tensor = InferInput(name, [1], kind)
        tensor.set_data_from_numpy(np.array([content], dtype=triton_to_np_dtype(kind)))
        tensors.append(tensor)
    return tensors


def _next_outputs(
    results: "queue.Queue[InferResult | Exception]", seconds: float
) -> dict[str, Any]:
    """The next response's outputs by name. Raises the error that came, or AskError if none did."""
    try:
        result = results.get(timeout=seconds)
    except queue.Empty as error:
        raise AskError("no answer came in time") from error
    if isinstance(result, Exception):
        raise result
    return plain_outputs(result)


def plain_outputs(result: Any, names: tuple[str, ...] = OUTPUTS) -> dict[str, Any]:
    """The outputs of a response by name."""
    return {name: _plain_value(result, name) for name in names}


def _plain_value(result: Any, name: str) -> Any:
    """The single value of an output."""
    value = result.as_numpy(name).reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else value.item()


def read_answer(outputs: dict[str, Any]) -> Answer:
    """The whole answer in the outputs of the last response."""
    return Answer(
        text=str(outputs["answer"]),
        request_id=str(outputs["request_id"]),
        release_id=str(outputs["release_id"]),
        is_refusal=None if outputs["refused"] is None else bool(outputs["refused"]),
        citations=json.loads(str(outputs["citations"])),
        num_prompt_tokens=int(outputs["num_prompt_tokens"]),
        num_new_tokens=int(outputs["num_new_tokens"]),
        guard_flags=json.loads(str(outputs["guard_flags"]) or "[]"),
    )
