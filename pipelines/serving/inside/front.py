"""The Triton model `assistant` of a live server: the entry that users ask. It sends each request to a release and logs it.

Which release answers is decided by routing.py. A request whose release fails gets that release's error: it is never answered by
another one, so that error rates can be compared. Copied into the live repository as model.py; see exchange.py for inputs and outputs.
"""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

GRACE_SECONDS = 5.0  # beyond a request's own limit: its release says itself that the time is over
BUCKETS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)  # milliseconds


class TritonPythonModel:
    """The class that Triton's Python back end looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        here = Path(args["model_repository"]) / args["model_version"]
        sys.path.insert(0, str(here))
        import exchange
        import peer
        import routing
        import trafficlog

        self.exchange, self.peer = exchange, peer
        self.server, self.running = peer.Server(), exchange.Running()
        self.settings = json.loads((here / "settings.json").read_text())
        self.router = routing.Router(Path(self.settings["routes"]))
        self.entry = trafficlog.Entry(self.settings["traffic"], self.settings["prices"])
        self.pool = ThreadPoolExecutor(self.settings["max_requests_at_once"])
        self.places = threading.BoundedSemaphore(self.settings["max_waiting"])
        self.counters = _Counters()

    def execute(self, requests: list[Any]) -> None:
        """Hand each request to a thread; more than the limits allow are refused at once."""
        for request in requests:
            asked, reply = self.exchange.read(request), self.exchange.Reply(request)
            if self.entry.full() or not self.places.acquire(blocking=False):
                self.exchange.fail(reply, "rejected", f"overloaded: {self.settings['max_waiting']} requests are waiting; try again later", asked.request_id)
                self.counters.overloaded()
                continue
            self.pool.submit(self._serve, asked, reply, time.time())

    def finalize(self) -> None:
        """Finish what has begun, then close the log."""
        self.pool.shutdown(wait=True)
        self.entry.close()
        del self.counters  # one that is left to the end of the process ends it with a segmentation fault

    def _serve(self, asked: Any, reply: Any, began: float) -> None:
        release = ""
        try:
            release = self.router.route(asked.request_id)
            row = self._lost(asked, release, asked.problem) | {"status": "rejected"} if asked.problem else self._forward(asked, reply, release, began)
        except Exception as error:  # nothing may leave a request without its end
            row = self._lost(asked, release, str(error) if isinstance(error, self.peer.PeerError) else f"{type(error).__name__}: {error}")
        try:
            if row["status"] != "ok":
                row["total_ms"] = 1000 * (time.time() - began)
                self.exchange.fail(reply, row["status"], row["error"], asked.request_id)
        finally:
            self.places.release()
            self.counters.count(self.entry.log(asked, row, began))

    def _forward(self, asked: Any, reply: Any, release: str, began: float) -> dict[str, Any]:
        """Ask the release, pass on what it says, return its row. Raises PeerError with the server's error where it fails."""
        limit = asked.timeout_seconds or self.settings["max_seconds"]
        call = self.server.stream(f"assistant-{release}", "", self.exchange.inputs(asked, limit), limit + GRACE_SECONDS)
        row, answered = self._lost(asked, release, f"the assistant of {release} ended without an answer"), False
        self.running.begin(reply, call)
        try:
            for arrays in call:
                found = self.exchange.plain(arrays)
                if found["record"]:
                    row = {**json.loads(found["record"]), "release_id": release, **({"total_ms": row["total_ms"]} if answered else {})}
                elif found["final"]:
                    answered, given = True, {name: found[name] for name in ("answer", "refused", "num_prompt_tokens", "num_new_tokens")}
                    row |= {**given, "status": "ok", "error": None, "total_ms": 1000 * (time.time() - began)}
                    self.exchange.send(reply, last=True, **found)
                elif found["piece"]:
                    self.exchange.send(reply, last=False, **found)
        except self.peer.PeerError as error:
            if not answered:  # what was answered stays answered, whatever happened to its record
                return {**row, "status": "cancelled" if "was cancelled" in str(error) else "failed", "error": str(error)}
        finally:
            self.running.end(reply)
        return row

    def _lost(self, asked: Any, release: str, error: str) -> dict[str, Any]:
        """The row of a request about which no release has said anything."""
        steps = dict.fromkeys(("guard_ms", "embed_ms", "search_ms", "generate_ms"))
        empty: dict[str, Any] = {"retrieved": [], "answer": None, "refused": False, "guard_flags": [], "groundedness": None, "num_prompt_tokens": 0, "num_new_tokens": 0, "total_ms": 0.0}
        return {"release_id": release or "none", "question": asked.question[: self.settings["max_logged_characters"]], "status": "failed", "error": error, **empty, **steps}


class _Counters:
    """Prometheus counters of the server's own metrics endpoint."""

    def __init__(self) -> None:
        import triton_python_backend_utils as triton

        def family(name: str, text: str) -> Any:
            return triton.MetricFamily(name=name, description=text, kind=triton.MetricFamily.COUNTER)

        self._lock, self._known = threading.Lock(), dict[tuple[str, tuple[tuple[str, str], ...]], Any]()
        self._families = {
            "assistant_requests_total": family("assistant_requests_total", "Requests by release and status"),
            "assistant_refused_total": family("assistant_refused_total", "Answers that are a refusal, by release"),
            "assistant_overloaded_total": family("assistant_overloaded_total", "Requests refused because too many were waiting"),
            "assistant_tokens_total": family("assistant_tokens_total", "Tokens by release and kind (prompt, new)"),
            "assistant_cost_total": family("assistant_cost_total", "Cost by release, by the price table"),
            "assistant_milliseconds_total": family("assistant_milliseconds_total", "Time of answered requests by release and step"),
            "assistant_answer_milliseconds_bucket": family("assistant_answer_milliseconds_bucket", "Answered requests that took at most le milliseconds, by release"),
        }
        self._add("assistant_overloaded_total", 0.0)  # there from the start, so that its rate is known

    def overloaded(self) -> None:
        self._add("assistant_overloaded_total", 1.0)

    def count(self, row: dict[str, Any]) -> None:
        release = row["release_id"]
        self._add("assistant_requests_total", 1.0, release=release, status=row["status"])
        self._add("assistant_refused_total", float(row["refused"]), release=release)
        self._add("assistant_cost_total", row["cost"], release=release)
        for kind in ("prompt", "new"):
            self._add("assistant_tokens_total", float(row[f"num_{kind}_tokens"]), release=release, kind=kind)
        if row["status"] == "ok":
            for step in ("guard", "embed", "search", "generate", "total"):
                self._add("assistant_milliseconds_total", row[f"{step}_ms"] or 0.0, release=release, step=step)
            for edge in (*BUCKETS, float("inf")):
                self._add("assistant_answer_milliseconds_bucket", float(row["total_ms"] <= edge), release=release, le="+Inf" if edge == float("inf") else str(edge))

    def _add(self, name: str, amount: float, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            if key not in self._known:
                self._known[key] = self._families[name].Metric(labels=labels)
            self._known[key].increment(amount)
