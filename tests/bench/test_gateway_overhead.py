"""What the gateway adds to an answer, and what it takes of the machine.

    .venv/bin/python -m pytest tests/bench/test_gateway_overhead.py -s -o norecursedirs=

The same questions go to the assistant in Triton and through the gateway in front of it, in turn.
The model is tiny, so the gateway's share is as large as it can be.

Seen on 2 cores with bf16: 58 to 64 ms alone and 117 to 120 ms with the gateway; at 16 clients 15.5
requests/s, 21 ms of the gateway's processor time a request without guards (16 % of the machine) and
29 ms with all of them on `flag` (23 %), when the gateway still had every answer streamed. The goal,
5 ms and 5 %, was missed, mostly not by guards.
"""

import json
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from statistics import median
from urllib.parse import urlparse

import psutil
import pytest

from pipelines.serving import client, live_server
from pipelines.serving.client import Question
from tests.gateway.conftest import assistant, export, limited_gateway, models, new_key
from tests.serving.users import questions

__all__ = ["assistant", "export", "limited_gateway", "models", "new_key"]  # fixtures

NUM_PAIRS = 100
NUM_CLIENTS = 16
NUM_REQUESTS = 320
MOST_ADDED_MS = {"off": 60, "flag": 120}
Ask = Callable[[str], object]


def ask_gateway(url: str, key: str, text: str) -> object:
    body = {"model": "assistant", "messages": [{"role": "user", "content": text}]}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


def milliseconds(ask: Ask, text: str) -> float:
    start = time.perf_counter()
    ask(text)
    return 1000 * (time.perf_counter() - start)


def process_at(url: str) -> psutil.Process:
    """The gateway's process, which listens there."""
    port = urlparse(url).port
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            assert connection.pid is not None
            return psutil.Process(connection.pid)
    raise AssertionError(f"nobody listens at {url}")


GUARDS = ("injection", "personal_question", "personal_answer", "secret_answer", "toxic_answer")


@pytest.mark.parametrize("action", ["off", "flag"])
def test_milliseconds_and_processor_time_of_the_gateway(
    limited_gateway: Callable[..., AbstractContextManager[str]],
    new_key: Callable[..., str],
    action: str,
) -> None:
    """`action`: of all guards."""
    default = dict.fromkeys(GUARDS, action)
    guards = {"min_toxicity": 0.9, "default": default, "tenants": {}}
    with limited_gateway(guards=guards) as url:
        through = partial(ask_gateway, url, new_key())
        added = compare_one_client(through, action)
        measure_many_clients(through, process_at(url))
    assert added < MOST_ADDED_MS[action]


def compare_one_client(through: Ask, action: str) -> float:
    """Milliseconds that the gateway adds to the median."""
    triton = live_server.find_running()
    assert triton is not None

    def direct(text: str) -> object:
        return client.ask(Question(text), triton)

    texts = questions()
    for text in texts:
        direct(text)
        through(text)
    alone: list[float] = []
    behind: list[float] = []
    for number in range(NUM_PAIRS):
        text = texts[number % len(texts)]
        alone.append(milliseconds(direct, text))
        behind.append(milliseconds(through, text))
    middle = median(behind)
    print(
        f"\nguards {action}, one client: {median(alone):.1f} ms, with the gateway {middle:.1f} ms"
    )
    return middle - median(alone)


def measure_many_clients(through: Ask, process: psutil.Process) -> None:
    texts = questions()
    before = process.cpu_times()
    start = time.perf_counter()
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        list(pool.map(through, [texts[number % len(texts)] for number in range(NUM_REQUESTS)]))
    seconds = time.perf_counter() - start
    after = process.cpu_times()
    cpu_seconds = after.user + after.system - before.user - before.system
    share = cpu_seconds / (seconds * (psutil.cpu_count() or 1))
    print(f"{NUM_CLIENTS} clients: {NUM_REQUESTS / seconds:.1f} requests/s")
    milliseconds_each = 1000 * cpu_seconds / NUM_REQUESTS
    print(f"{milliseconds_each:.1f} ms of processor time a request, {share:.1%} of all")
