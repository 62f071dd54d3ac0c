"""Requests of the traffic log, each of another asker and routed as a server would do it."""

import datetime
import random
from collections.abc import Callable
from typing import Any

from pipelines.config.canary import CanaryConfig, Limit, LimitsConfig
from pipelines.runtime import routing

CONFIG = CanaryConfig(
    steps=[0.5, 1.0],
    min_requests=50,
    max_step_seconds=10.0,
    undecided="go_on",
    false_rollback_rate=0.01,
    miss_rate=0.05,
    max_asker_share=0.2,
    limits=LimitsConfig(
        failures=Limit(tolerate=0.005, find=0.1),
        latency=Limit(tolerate=1.5, find=4.0),
        refusals=Limit(tolerate=0.05, find=0.3),
        groundedness=Limit(tolerate=0.02, find=0.3),
        thumbs=Limit(tolerate=0.05, find=0.3),
    ),
)
START = 1_000_000.0  # seconds since 1970
ROUTES = [("r-old", 0.5), ("r-new", 0.5)]
GOOD: dict[str, Any] = {
    "tenant": "default",
    "status": "ok",
    "total_ms": 100.0,
    "groundedness": 0.8,
    "refused": False,
}
Change = Callable[[int], dict[str, Any]]  # of the new release's request with that number


def rows(count: int, change: Change = lambda number: {}) -> list[dict[str, Any]]:
    """Requests, each of another asker; what the new release does is changed."""
    dice = random.Random(7)
    requests: list[dict[str, Any]] = []
    for number in range(count):
        request_id = f"q-{number}"
        position = dice.random()
        release_id = routing.pick(ROUTES, position)
        moment = datetime.datetime.fromtimestamp(START + 10 + number / 10, datetime.UTC)
        row = {**GOOD, "request_id": request_id, "release_id": release_id, "time": moment}
        row["position"] = position
        if release_id == "r-new":
            row |= change(number)
        requests.append(row)
    return requests


def every(step: int, **changes: Any) -> Change:
    return lambda number: changes if number % step == 0 else {}
