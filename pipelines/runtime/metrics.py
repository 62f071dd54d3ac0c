"""Prometheus counters on the server's own metrics endpoint.

A counter that is left to the end of its process ends it with a segmentation fault, so a model
deletes its counters when it is unloaded.
"""

import threading
import time
from typing import Any

import triton_python_backend_utils as triton

from .metric_names import UNDER_WAY
from .status import Status

REPORT_SECONDS = 0.5  # between two reports of the language model's steps
EDGES = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)  # of the histogram, in milliseconds
STEPS = ("guard", "embed", "search", "generate", "total")
REQUESTS = "assistant_requests_total"
REFUSALS = "assistant_refused_total"
OVERLOADS = "assistant_overloaded_total"
TOKENS = "assistant_tokens_total"
COST = "assistant_cost_total"
MILLISECONDS = "assistant_milliseconds_total"
HISTOGRAM = "assistant_answer_milliseconds_bucket"
DESCRIPTIONS = {
    REQUESTS: "Requests by release and status",
    REFUSALS: "Answers that are a refusal, by release",
    OVERLOADS: "Requests refused because too many were waiting",
    TOKENS: "Tokens by release and kind (prompt, new)",
    COST: "Cost by release, by the price table",
    MILLISECONDS: "Time of answered requests by release and step",
    HISTOGRAM: "Answered requests that took at most le milliseconds, by release",
}


class RequestCounters:
    """Counts the requests that reach the entry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._metrics: dict[tuple[str, tuple[tuple[str, str], ...]], Any] = {}
        self._families: dict[str, Any] = {}
        for name, description in DESCRIPTIONS.items():
            self._families[name] = _counter_family(name, description)
        # Present from the start, so that its rate is known.
        self._add(OVERLOADS, 0.0)
        gauges = triton.MetricFamily(
            name=UNDER_WAY,
            description="Requests that users wait for at this moment",
            kind=triton.MetricFamily.GAUGE,
        )
        self._families[UNDER_WAY] = gauges
        self._add(UNDER_WAY, 0.0)

    def count_arrival(self) -> None:
        """A request is accepted; `count_end` follows."""
        self._add(UNDER_WAY, 1.0)

    def count_end(self) -> None:
        self._add(UNDER_WAY, -1.0)

    def count_overload(self) -> None:
        self._add(OVERLOADS, 1.0)

    def count(self, row: dict[str, Any]) -> None:
        """Count one request by its row in the traffic log."""
        release = row["release_id"]
        self._add(REQUESTS, 1.0, release=release, status=str(row["status"]))
        self._add(REFUSALS, float(row["refused"]), release=release)
        self._add(COST, row["cost"], release=release)
        self._add(TOKENS, float(row["num_prompt_tokens"]), release=release, kind="prompt")
        self._add(TOKENS, float(row["num_new_tokens"]), release=release, kind="new")
        if row["status"] == Status.OK:
            self._count_times(row)

    def _count_times(self, row: dict[str, Any]) -> None:
        release = row["release_id"]
        for step in STEPS:
            self._add(MILLISECONDS, row[f"{step}_ms"] or 0.0, release=release, step=step)
        for edge in EDGES:
            is_within = float(row["total_ms"] <= edge)
            self._add(HISTOGRAM, is_within, release=release, le=str(edge))
        self._add(HISTOGRAM, 1.0, release=release, le="+Inf")

    def _add(self, name: str, amount: float, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            if key not in self._metrics:
                self._metrics[key] = self._families[name].Metric(labels=labels)
            self._metrics[key].increment(amount)


class StepCounter:
    """Counts the language model's steps by the number of rows in them.

    A step writes one token of each row.
    """

    def __init__(self, model: str):
        self._model = model
        self._counts: dict[int, int] = {}  # steps since the last report, by their rows
        self._metrics: dict[int, Any] = {}
        self._report_time = 0.0
        self._family = _counter_family(
            "generator_steps_total",
            "Steps of the language model by the number of requests in them",
        )

    def count(self, rows: int) -> None:
        self._counts[rows] = self._counts.get(rows, 0) + 1
        if time.monotonic() - self._report_time > REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        for rows, count in self._counts.items():
            if rows not in self._metrics:
                labels = {"model": self._model, "rows": str(rows)}
                self._metrics[rows] = self._family.Metric(labels=labels)
            self._metrics[rows].increment(count)
        self._counts.clear()
        self._report_time = time.monotonic()


def _counter_family(name: str, description: str) -> Any:
    kind = triton.MetricFamily.COUNTER
    return triton.MetricFamily(name=name, description=description, kind=kind)
