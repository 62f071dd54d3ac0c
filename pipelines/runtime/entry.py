"""The Triton model `assistant` of a live server: the entry that users ask.

It passes each request to a release, chosen by routing.py, and logs it. A request whose release
fails gets that release's error: it is never answered by a different one, so that error rates can be
compared. See exchange.py for inputs and outputs.
"""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import arrays, exchange, injection, peer, readers
from .exchange import Reply, UserRequest
from .metrics import RequestCounters
from .routing import Router
from .status import Status
from .traffic_log import RequestLog
from .traffic_row import milliseconds_since, new_row

# Beyond a request's own limit: its release itself says that the time is over.
GRACE_SECONDS = 5.0
READERS = Path(readers.__file__).name
ANSWER_FIELDS = ("answer", "refused", "num_prompt_tokens", "num_new_tokens")


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the settings and open the traffic log."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.settings = json.loads((folder / "settings.json").read_text())
        self.server = peer.Server()
        self.cancellation = exchange.Cancellation()
        self.repository = Path(args["model_repository"]).parent
        self.router = Router(Path(self.settings["routes"]))
        self.request_log = RequestLog(self.settings["traffic"], self.settings["prices"])
        self.pool = ThreadPoolExecutor(self.settings["max_requests_at_once"])
        self.slots = threading.BoundedSemaphore(self.settings["max_waiting"])
        self.counters = RequestCounters()

    def execute(self, requests: list[Any]) -> None:
        """Hand each request to a thread; requests beyond the limits are refused at once."""
        for triton_request in requests:
            request = exchange.read(triton_request)
            reply = Reply(triton_request)
            if self.request_log.is_full() or not self.slots.acquire(blocking=False):
                self._refuse(request, reply)
            else:
                self.counters.count_arrival()
                self.pool.submit(self._serve, request, reply, time.time())

    def finalize(self) -> None:
        """Finish the requests under way, then close the log."""
        self.pool.shutdown(wait=True)
        self.request_log.close()
        del self.counters  # see metrics.py

    def _refuse(self, request: UserRequest, reply: Reply) -> None:
        num_waiting = self.settings["max_waiting"]
        message = f"{num_waiting} requests are waiting; try again later"
        exchange.fail(reply, Status.OVERLOADED, message, request.request_id)
        self.counters.count_overload()

    def _serve(self, request: UserRequest, reply: Reply, start: float) -> None:
        row = self._new_row(request)
        try:
            row["release_id"] = self.router.route(request.position)
            row = self._answer(request, reply, row, start)
        except Exception as error:  # nothing may leave a request without its end
            row["error"] = f"{type(error).__name__}: {error}"
        try:
            if row["status"] != Status.OK:
                row["total_ms"] = milliseconds_since(start)
                exchange.fail(reply, row["status"], row["error"], request.request_id)
        finally:
            self.slots.release()
            self.counters.count_end()
            self.counters.count(self.request_log.add(request, row, start))

    def _answer(
        self, request: UserRequest, reply: Reply, row: dict[str, Any], start: float
    ) -> dict[str, Any]:
        """Let the release in `row` answer; returns the completed row."""
        if request.problem:
            return row | {"status": Status.REJECTED, "error": request.problem}
        release_id = row["release_id"]
        silence = f"the assistant of {release_id} ended without an answer"
        forwarding = Forwarding(reply, row | {"error": silence}, start)
        model = f"assistant-{release_id}"
        is_guarded = any(self.repository.glob(f"{model}/*/{injection.FILE}"))
        if not is_guarded and request.guards.blocks_any:
            problem = f"{release_id} was exported without a guard, and this tenant's is to block"
            return row | {"status": Status.FAILED, "error": problem}
        limit = request.timeout_seconds or self.settings["max_seconds"]
        inputs = exchange.inputs(request, limit)
        if is_guarded:
            inputs |= exchange.guard_inputs(request)
        # A release without it was exported before documents had readers, and reads none that has.
        if any(self.repository.glob(f"{model}/*/runtime/{READERS}")):
            inputs |= exchange.group_inputs(request)
        call = self.server.stream(model, "", inputs, limit + GRACE_SECONDS)
        try:
            with self.cancellation.watch(reply, call):
                for response in call:
                    forwarding.add(arrays.values(response))
        except peer.PeerError as error:
            forwarding.end_with(error)
        return forwarding.row

    def _new_row(self, request: UserRequest) -> dict[str, Any]:
        """The row of a request about which no release has said anything."""
        question = request.question[: self.settings["max_logged_characters"]]
        return new_row("none", question) | {"total_ms": 0.0}


class Forwarding:
    """Passes on what a release says, and completes the request's row with it."""

    def __init__(self, reply: Reply, row: dict[str, Any], start: float):
        self.row = row
        self._reply = reply
        self._release_id = row["release_id"]
        self._start = start
        self._is_answered = False

    def add(self, response: dict[str, Any]) -> None:
        """One response of the release: a piece of text, the answer, or its record."""
        if response["record"]:
            self._add_record(json.loads(response["record"]))
        elif response["final"]:
            self._add_answer(response)
        elif response["piece"]:
            exchange.send(self._reply, last=False, **response)

    def end_with(self, error: peer.PeerError) -> None:
        """An answer that was sent stays one, whatever happened to its record."""
        if not self._is_answered:
            is_cancelled = error.status is Status.CANCELLED
            status = Status.CANCELLED if is_cancelled else Status.FAILED
            self.row |= {"status": status, "error": str(error)}

    def _add_record(self, record: dict[str, Any]) -> None:
        """The release's own row replaces this one, save for the time until the answer."""
        total_ms = self.row["total_ms"] if self._is_answered else record["total_ms"]
        self.row = {**record, "release_id": self._release_id, "total_ms": total_ms}

    def _add_answer(self, response: dict[str, Any]) -> None:
        self._is_answered = True
        self.row |= {name: response[name] for name in ANSWER_FIELDS}
        self.row |= {"status": Status.OK, "error": None}
        self.row["total_ms"] = milliseconds_since(self._start)
        exchange.send(self._reply, last=True, **response)
