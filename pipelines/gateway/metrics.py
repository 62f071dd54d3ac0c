"""Prometheus metrics of the gateway; Triton has its own on its own address."""

from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipelines import files
from pipelines.contracts.drift import Decision
from pipelines.gateway.accounts import Balance, Tokens

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

DECISION = Path("data/reports/drift/verdict.json")  # what `monitor` has decided last
UNREADABLE = "unreadable"


class _Budgets(Collector):
    """How much of each budget is spent, read when Prometheus asks."""

    def __init__(self, balances: Callable[[], list[Balance]]):
        self._balances = balances

    def describe(self) -> list[GaugeMetricFamily]:
        return [self._family()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = self._family()
        for balance in self._balances():
            kind, _, name = balance.owner.partition(" ")
            ratio = balance.amount / balance.budget if balance.budget else 1.0
            family.add_metric([kind, name], ratio)
        yield family

    def _family(self) -> GaugeMetricFamily:
        text = "Share of the month's budget that is spent or set aside"
        return GaugeMetricFamily("gateway_budget_ratio", text, labels=["kind", "name"])


class _Drift(Collector):
    """What `monitor` has found last in the traffic of this clone; nothing before it ever ran."""

    def __init__(self, path: Path):
        self._path = path

    def describe(self) -> list[GaugeMetricFamily]:
        return [self._family()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = self._family()
        if self._path.exists():
            family.add_metric([self._outcome()], 1)
        yield family

    def _outcome(self) -> str:
        try:
            return files.read_json(self._path, Decision).outcome
        except (OSError, ValueError):
            return UNREADABLE

    def _family(self) -> GaugeMetricFamily:
        text = "1 for the outcome of the last window of traffic"
        return GaugeMetricFamily("gateway_drift_verdict", text, labels=["outcome"])


class Metrics:
    """Counters of one gateway."""

    def __init__(
        self, num_under_way: Callable[[], int], balances: Callable[[], list[Balance]], clone: Path
    ):
        self._registry = CollectorRegistry()
        self._registry.register(_Budgets(balances))
        self._registry.register(_Drift(clone / DECISION))
        self._requests = self._counter(
            "gateway_requests_total", "Requests by route and status", "route", "status"
        )
        self._seconds = Histogram(
            "gateway_seconds",
            "Seconds until the whole response was sent, by route",
            ["route"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._tokens = self._counter(
            "gateway_tokens_total", "Tokens by tenant and kind (prompt, new)", "tenant", "kind"
        )
        self._refusals = self._counter(
            "gateway_limited_total", "Requests refused with status 429, by limit", "limit"
        )
        for limit in ("key", "tenant"):
            self._refusals.labels(f"{limit}.monthly_budget")  # 0, so that the first one is a rise
        self._decisions = self._counter(
            "gateway_guard_total",
            "What guards noticed, by guard and action (flag, block)",
            "guard",
            "action",
        )
        self._lines = self._counter(
            "gateway_batch_lines_total",
            "Lines of batches by result (completed, failed, tried again)",
            "result",
        )
        self._lookups = self._counter(
            "gateway_cache_total",
            "Questions looked up among the answers that are kept, by result (hit, miss, bypass)",
            "result",
        )
        self._kept_answers = Gauge(
            "gateway_cache_entries", "Answers that are kept", registry=self._registry
        )
        under_way = Gauge(
            "gateway_under_way", "Requests that are worked on", registry=self._registry
        )
        under_way.set_function(num_under_way)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_tokens(self, tenant: str, tokens: Tokens) -> None:
        self._tokens.labels(tenant, "prompt").inc(tokens.prompt)
        self._tokens.labels(tenant, "new").inc(tokens.new)

    def count_refusal(self, limit: str) -> None:
        self._refusals.labels(limit).inc()

    def count_decision(self, guard: str, action: str) -> None:
        self._decisions.labels(guard, action).inc()

    def count_line(self, result: str) -> None:
        self._lines.labels(result).inc()

    def count_lookup(self, result: str) -> None:
        self._lookups.labels(result).inc()

    def set_kept_answers(self, count: int) -> None:
        self._kept_answers.set(count)

    def text(self) -> bytes:
        return generate_latest(self._registry)
