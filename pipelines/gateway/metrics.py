"""Prometheus metrics of the gateway; Triton has its own on its own address."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pipelines.gateway.accounts import Tokens

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one gateway."""

    def __init__(self, num_under_way: Callable[[], int]):
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "gateway_requests_total",
            "Requests by route and status",
            ["route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "gateway_seconds",
            "Seconds until the whole response was sent, by route",
            ["route"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "gateway_tokens_total",
            "Tokens by tenant and kind (prompt, new)",
            ["tenant", "kind"],
            registry=self._registry,
        )
        self._refusals = Counter(
            "gateway_limited_total",
            "Requests refused with status 429, by limit",
            ["limit"],
            registry=self._registry,
        )
        under_way = Gauge(
            "gateway_under_way", "Requests that are worked on", registry=self._registry
        )
        under_way.set_function(num_under_way)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_tokens(self, tenant: str, tokens: Tokens) -> None:
        self._tokens.labels(tenant, "prompt").inc(tokens.prompt)
        self._tokens.labels(tenant, "new").inc(tokens.new)

    def count_refusal(self, limit: str) -> None:
        self._refusals.labels(limit).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)
