"""What the gateway adds to an answer, and what it takes of the machine.

    .venv/bin/python -m pytest tests/bench/test_gateway_overhead.py -s -o norecursedirs=

The same questions go to the assistant in Triton and through the gateway in front of it, in turn.
The model is tiny, so the gateway's share is as large as it can be.
"""

import json
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from urllib.parse import urlparse

import psutil

from pipelines.serving import client, live_server
from pipelines.serving.client import Question
from tests.gateway.conftest import assistant, export, gateway, models, new_key
from tests.serving.users import questions

__all__ = ["assistant", "export", "gateway", "models", "new_key"]  # fixtures

NUM_PAIRS = 100
NUM_CLIENTS = 16
NUM_REQUESTS = 320
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


def test_milliseconds_and_processor_time_of_the_gateway(
    gateway: str, new_key: Callable[..., str]
) -> None:
    triton = live_server.find_running()
    assert triton is not None
    through = partial(ask_gateway, gateway, new_key())

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
    added = median(behind) - median(alone)
    print(f"\none client: {median(alone):.1f} ms, with the gateway {median(behind):.1f} ms")

    process = process_at(gateway)
    before = process.cpu_times()
    start = time.perf_counter()
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        list(pool.map(through, [texts[number % len(texts)] for number in range(NUM_REQUESTS)]))
    seconds = time.perf_counter() - start
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    share = used / (seconds * (psutil.cpu_count() or 1))
    print(f"{NUM_CLIENTS} clients: {NUM_REQUESTS / seconds:.1f} requests/s")
    print(f"{1000 * used / NUM_REQUESTS:.1f} ms of processor time a request, {share:.1%} of all")
    assert added < 50
