"""How the models `assistant` are spoken to, inside Triton: what a request holds and what goes back.

Inputs: `question`; optional `request_id`, `tenant`, `max_new_tokens`, `timeout_seconds`, `stream`.
Outputs: `piece` (text since the last response), `answer`, `request_id`, `release_id`, `refused`, `citations` (JSON), `num_prompt_tokens`,
`num_new_tokens`, `final`; and `record` (JSON of the traffic log's row), by which a release's assistant tells the entry what to log.
"""

import re
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np

TEXTS, COUNTS, SWITCHES = ("piece", "answer", "request_id", "release_id", "citations", "record"), ("num_prompt_tokens", "num_new_tokens"), ("refused", "final")
LOOK_SECONDS = 0.05  # how often a running request is asked whether its client has gone
REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Asked:
    """One request, read before any work. `problem` says why it is no request."""

    question: str
    request_id: str
    tenant: str
    max_new_tokens: int  # 0: the release's limit
    timeout_seconds: float  # 0: the release's limit
    stream: bool
    problem: str | None


def read(request: Any) -> Asked:
    """What a request holds; a request id is made where none is given."""
    given_id = str(value(request, "request_id", ""))
    max_new_tokens, timeout = int(value(request, "max_new_tokens", 0)), float(value(request, "timeout_seconds", 0.0))
    problem = None
    if given_id and not REQUEST_ID.fullmatch(given_id):
        problem = "request_id may hold letters, digits, - and _, at most 64 of them"
    elif max_new_tokens < 0 or not 0 <= timeout < float("inf"):
        problem = "max_new_tokens and timeout_seconds may not be negative or infinite"
    known = given_id if given_id and problem is None else uuid.uuid4().hex
    return Asked(str(value(request, "question", "")), known, str(value(request, "tenant", "")) or "default", max_new_tokens, timeout, bool(value(request, "stream", False)), problem)


class Reply:
    """The way back of one request. To ask a response sender whether its client has gone, while or after the last response is sent, ends
    Triton 2.51 with a segmentation fault: so one lock guards both, and nothing is asked of a reply that has ended."""

    def __init__(self, request: Any):
        self._sender, self._lock, self._ended = request.get_response_sender(), threading.Lock(), False

    def send(self, response: Any, *, last: bool) -> None:
        """One response. After the last one nothing more is sent."""
        import triton_python_backend_utils as triton

        with self._lock:
            if not self._ended:
                self._ended = last
                self._sender.send(response, flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0)

    def gone(self) -> bool:
        """Whether the client has cancelled."""
        with self._lock:
            return not self._ended and bool(self._sender.is_cancelled())


def value(request: Any, name: str, default: Any) -> Any:
    """The single value of an input, or `default` where the request has none."""
    import triton_python_backend_utils as triton

    tensor = triton.get_input_tensor_by_name(request, name)
    if tensor is None:
        return default
    found = tensor.as_numpy().reshape(-1)[0]
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found


def inputs(asked: Asked, timeout_seconds: float) -> dict[str, Any]:
    """The arrays by which one model asks another the same (peer.py)."""
    texts = {name: np.array([getattr(asked, name).encode("utf-8")], dtype=np.object_) for name in ("question", "request_id", "tenant")}
    numbers = {"max_new_tokens": np.array([asked.max_new_tokens], dtype=np.int32), "timeout_seconds": np.array([timeout_seconds], dtype=np.float32)}
    return {**texts, **numbers, "stream": np.array([asked.stream], dtype=np.bool_)}


def text(name: str, content: str) -> Any:
    import triton_python_backend_utils as triton

    return triton.Tensor(name, np.array([content.encode("utf-8")], dtype=np.object_))


def send(reply: Reply, *, last: bool, **outputs: Any) -> None:
    """One response; what is not named is empty. `last` ends the request."""
    import triton_python_backend_utils as triton

    tensors = [text(name, str(outputs.get(name, ""))) for name in TEXTS]
    tensors += [triton.Tensor(name, np.array([outputs.get(name, 0)], dtype=np.int32)) for name in COUNTS]
    tensors += [triton.Tensor(name, np.array([outputs.get(name, False)], dtype=np.bool_)) for name in SWITCHES]
    reply.send(triton.InferenceResponse(tensors), last=last)


def fail(reply: Reply, status: str, message: str, request_id: str) -> None:
    """End a request with an error that the asker reads."""
    import triton_python_backend_utils as triton

    code = {"rejected": triton.TritonError.INVALID_ARG, "cancelled": triton.TritonError.CANCELLED}.get(status, triton.TritonError.UNAVAILABLE)
    error = triton.TritonError(f"{status}: {message} (request {request_id})", code)
    reply.send(triton.InferenceResponse(output_tensors=[], error=error), last=True)


def plain(arrays: dict[str, Any]) -> dict[str, Any]:
    """The single value of each output."""
    firsts = {name: array.reshape(-1)[0] for name, array in arrays.items()}
    return {name: first.decode("utf-8") if isinstance(first, bytes) else first.item() for name, first in firsts.items()}


class Running:
    """Requests under way: where a client has gone, what was asked for it is cancelled."""

    def __init__(self) -> None:
        self._held: dict[Reply, Any] = {}
        threading.Thread(target=self._look, name="cancellation", daemon=True).start()

    def begin(self, reply: Reply, call: Any) -> None:
        self._held[reply] = call

    def end(self, reply: Reply) -> None:
        self._held.pop(reply, None)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            for reply, call in list(self._held.items()):
                if reply.gone():
                    self.end(reply)
                    call.cancel()
