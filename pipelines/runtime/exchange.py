"""What the models `assistant` exchange with their clients: how requests are read and answered.

Inputs: `question`; optional `request_id`, `tenant`, `max_new_tokens`, `timeout_seconds`, `stream`,
`groups` (of the asker, see readers.py), `guards` (see guard_actions.py), and for the entry
`position` (from 0 to 1), which chooses the release; without it chance does.
Outputs: `piece` (text since the last response), `answer`, `request_id`, `release_id`, `refused`,
`citations` (JSON), `guard_flags` (JSON), `num_prompt_tokens`, `num_new_tokens`, `final`; and
`record` (JSON of the row in the traffic log), by which a release's assistant tells the entry what
to log.
"""

import random
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from . import arrays, guard_actions, readers
from .arrays import Arrays
from .guard_actions import GuardActions
from .peer import Stream
from .readers import Groups
from .status import TRITON_CODES, Status, format_user_error

TEXTS = ("piece", "answer", "request_id", "release_id", "citations", "guard_flags", "record")
COUNTS = ("num_prompt_tokens", "num_new_tokens")
SWITCHES = ("refused", "final")
POLL_SECONDS = 0.05  # how often a running request is checked for a client that has left
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class UserRequest:
    """One request, read before any work. `problem` says why it is not valid."""

    question: str
    request_id: str
    tenant: str
    groups: Groups  # to which the asker belongs
    max_new_tokens: int  # 0: the release's limit
    timeout_seconds: float  # 0: the release's limit
    stream: bool
    position: float  # from 0 (inclusive) to 1 (exclusive)
    guards: GuardActions
    problem: str | None


def read(request: Any) -> UserRequest:
    """What a request holds. A request without a valid id gets a new one."""
    request_id = str(value(request, "request_id", ""))
    max_new_tokens = int(value(request, "max_new_tokens", 0))
    timeout_seconds = float(value(request, "timeout_seconds", 0.0))
    position = float(value(request, "position", random.random()))
    problem = None
    guards = GuardActions()
    groups: Groups = ()
    try:
        guards = guard_actions.read(str(value(request, "guards", "")))
        groups = readers.read(str(value(request, "groups", "")))
    except ValueError as error:
        problem = str(error)
    if request_id and not REQUEST_ID.fullmatch(request_id):
        problem = "request_id may hold letters, digits, - and _, at most 64 of them"
    elif max_new_tokens < 0 or not 0 <= timeout_seconds < float("inf"):
        problem = "max_new_tokens and timeout_seconds may not be negative or infinite"
    elif not 0 <= position < 1:
        problem = "position must be at least 0 and less than 1"
    if problem or not request_id:
        request_id = uuid.uuid4().hex
    return UserRequest(
        question=str(value(request, "question", "")),
        request_id=request_id,
        tenant=str(value(request, "tenant", "")) or "default",
        groups=groups,
        max_new_tokens=max_new_tokens,
        timeout_seconds=timeout_seconds,
        stream=bool(value(request, "stream", False)),
        position=position,
        guards=guards,
        problem=problem,
    )


def value(request: Any, name: str, default: Any) -> Any:
    """The single value of an input, or `default` if the request does not have it."""
    tensor = triton.get_input_tensor_by_name(request, name)
    return default if tensor is None else arrays.value(tensor.as_numpy())


def inputs(request: UserRequest, timeout_seconds: float) -> Arrays:
    """The arrays by which the entry passes a request on to a release's assistant."""
    return {
        "question": arrays.text(request.question),
        "request_id": arrays.text(request.request_id),
        "tenant": arrays.text(request.tenant),
        "max_new_tokens": np.array([request.max_new_tokens], dtype=np.int32),
        "timeout_seconds": np.array([timeout_seconds], dtype=np.float32),
        "stream": np.array([request.stream], dtype=np.bool_),
    }


def guard_inputs(request: UserRequest) -> Arrays:
    """The array by which the entry tells a release's assistant what its guards are to do."""
    return {"guards": arrays.text(guard_actions.write(request.guards))}


def group_inputs(request: UserRequest) -> Arrays:
    """The array by which the entry tells a release's assistant what the asker may read."""
    return {"groups": arrays.text(readers.write(request.groups))}


class Reply:
    """The way back of one request.

    To ask a response sender whether its client has left, while or after the last response is sent,
    ends Triton 2.51 with a segmentation fault. So one lock guards both, and nothing is asked of a
    reply that has ended.
    """

    def __init__(self, request: Any):
        self._sender = request.get_response_sender()
        self._lock = threading.Lock()
        self._is_complete = False

    def send(self, tensors: list[Any], *, last: bool) -> None:
        """Send one response. After the last one nothing more is sent."""
        self._send(triton.InferenceResponse(tensors), last=last)

    def fail(self, status: Status, message: str) -> None:
        """End the request with an error."""
        code = getattr(triton.TritonError, TRITON_CODES[status])
        error = triton.TritonError(message, code)
        self._send(triton.InferenceResponse(output_tensors=[], error=error), last=True)

    def is_abandoned(self) -> bool:
        """Whether the client has cancelled the request."""
        with self._lock:
            return not self._is_complete and bool(self._sender.is_cancelled())

    def _send(self, response: Any, *, last: bool) -> None:
        with self._lock:
            if not self._is_complete:
                self._is_complete = last
                flags = triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0
                self._sender.send(response, flags=flags)


def send(reply: Reply, *, last: bool, **outputs: Any) -> None:
    """Send one response of an assistant; outputs that are not named are empty."""
    tensors = [text_tensor(name, str(outputs.get(name, ""))) for name in TEXTS]
    tensors += [count_tensor(name, outputs.get(name, 0)) for name in COUNTS]
    tensors += [switch_tensor(name, outputs.get(name, False)) for name in SWITCHES]
    reply.send(tensors, last=last)


def fail(reply: Reply, status: Status, message: str, request_id: str) -> None:
    """End a user's request with an error that says how it ended."""
    reply.fail(status, format_user_error(status, message, request_id))


def text_tensor(name: str, content: str) -> Any:
    return triton.Tensor(name, arrays.text(content))


def count_tensor(name: str, count: int) -> Any:
    return triton.Tensor(name, np.array([count], dtype=np.int32))


def switch_tensor(name: str, state: bool) -> Any:
    return triton.Tensor(name, np.array([state], dtype=np.bool_))


class Cancellation:
    """Passes cancellations on: if a client leaves, the call made on its behalf is cancelled."""

    def __init__(self) -> None:
        self._calls: dict[Reply, Stream] = {}
        threading.Thread(target=self._poll, name="cancellation", daemon=True).start()

    @contextmanager
    def watch(self, reply: Reply, call: Stream) -> Iterator[None]:
        """Watch the client of `reply` until the block ends."""
        self._calls[reply] = call
        try:
            yield
        finally:
            self._calls.pop(reply, None)

    def _poll(self) -> None:
        while True:
            time.sleep(POLL_SECONDS)
            for reply, call in list(self._calls.items()):
                if reply.is_abandoned():
                    self._calls.pop(reply, None)
                    call.cancel()
