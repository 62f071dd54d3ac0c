"""10,000 requests with kills of model processes in the middle: no wrong answer, a row for every request, and the server heals by itself.

infra/test -m slow tests/serving/test_load.py       (about four minutes on 2 cores; LOAD_REQUESTS=1000 for a first look)
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.serve import Prices, ServeConfig
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.serving import client, live, traffic
from pipelines.serving.server import Triton
from pipelines.vectorstore import aliases, collections
from pipelines.vectorstore import server as weaviate

SERVE = ServeConfig(max_requests_at_once=32, max_waiting=128, max_seconds=15.0, keep_loaded=2, keep_files=3, prices=Prices(prompt_tokens_per_million=0.0, new_tokens_per_million=0.0, request=0.0))
NUM_REQUESTS, NUM_KILLS, CLIENTS = int(os.environ.get("LOAD_REQUESTS", "10000")), 4, 16
NOT_ACCEPTED = ("overloaded", "no answer from")  # refused at the door, and unreachable: the server has promised nothing


@pytest.fixture(scope="module")
def receipt(serving: Path, models: Path) -> Receipt:
    return collections.build(models / "chunks.parquet", models / "vectors.parquet", keep=3, sample=4, hybrid_alpha=0.7)


@pytest.fixture(scope="module")
def triton(serving: Path, receipt: Receipt, export: Callable[..., ReleaseRecord]) -> Iterator[Triton]:
    export(Path("export"), receipt, "r-one")
    live.install(Path("export"), "r-one")
    aliases.point(live.alias("r-one"), receipt.collection)
    with weaviate.addressed() as environment, live.held(SERVE, ["r-one"], environment) as held:
        live.set_routes([("r-one", 1.0)])
        yield held


@dataclass
class Load:
    """Clients that ask known questions, and what each request came to: request id -> (ok | wrong | error, message)."""

    triton: Triton
    expected: dict[str, str]  # question -> answer
    given: dict[str, tuple[str, str]] = field(default_factory=dict)
    kills: list[int] = field(default_factory=list)

    def ask(self, number: int) -> None:
        question, request_id = list(self.expected)[number % len(self.expected)], f"load-{number}"
        try:
            answer = client.ask(question, request_id=request_id, seconds=10, triton=self.triton).text
            self.given[request_id] = ("ok", "") if answer == self.expected[question] else ("wrong", f"{question!r}: {answer!r} instead of {self.expected[question]!r}")
        except client.AskError as error:
            self.given[request_id] = ("error", str(error))
            time.sleep(1)  # as a polite client

    def kill(self, ended: threading.Event) -> None:
        """Kill the language model's process each time another part of the requests has its end."""
        while not ended.wait(0.1) and len(self.kills) < NUM_KILLS:
            if len(self.given) >= NUM_REQUESTS * (len(self.kills) + 1) / (NUM_KILLS + 1):
                for pid in self.triton.processes("generator-r-one"):
                    os.kill(pid, signal.SIGKILL)
                    self.kills.append(pid)

    def heal(self, ended: threading.Event) -> None:
        """As `serve` does."""
        dead: set[str] = set()
        while not ended.wait(1):
            with suppress(OSError):
                dead = live.heal(self.triton, dead)

    def counted(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.given.values())

    def accepted(self) -> set[str]:
        return {request_id for request_id, (_, error) in self.given.items() if not any(words in error for words in NOT_ACCEPTED)}


@contextmanager
def beside(*works: Callable[[threading.Event], None]) -> Iterator[None]:
    """Threads that work until the block ends."""
    ended = threading.Event()
    threads = [threading.Thread(target=work, args=(ended,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def logged(count: int) -> list[dict[str, Any]]:
    """The log's rows of the load, as soon as there are `count`, and no more a moment later."""
    deadline, rows = time.monotonic() + 300, list[dict[str, Any]]()
    while len(rows) < count and time.monotonic() < deadline:
        time.sleep(1)
        rows = [row for row in traffic.requests(client.traffic_folder(), 0.0) if row["request_id"].startswith("load-")]
    return rows


@pytest.mark.slow
def test_kills_in_the_middle_of_a_load_give_errors_but_no_wrong_answer_and_no_missing_row(triton: Triton, receipt: Receipt, evaluated: Callable[[Receipt], list[dict[str, Any]]]) -> None:
    load = Load(triton, {row["question"]: row["answer"] for row in evaluated(receipt)})
    began = time.monotonic()
    with beside(load.kill, load.heal), ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(load.ask, range(NUM_REQUESTS)))
    print(f"\n{NUM_REQUESTS} requests in {time.monotonic() - began:.0f} s, {len(load.kills)} kills: {load.counted()}")
    print(Counter(error.split(" (request")[0].split("': ")[-1] for kind, error in load.given.values() if kind == "error").most_common(5))
    assert len(load.kills) == NUM_KILLS
    assert [message for kind, message in load.given.values() if kind == "wrong"] == []
    assert load.counted()["ok"] > NUM_REQUESTS / 2
    rows = logged(len(load.accepted()))
    assert Counter(row["request_id"] for row in rows) == Counter(load.accepted())
    assert {row["request_id"] for row in rows if row["status"] == "ok"} >= {request_id for request_id, (kind, _) in load.given.items() if kind == "ok"}


@pytest.mark.slow
def test_the_server_heals_by_itself_after_a_kill(triton: Triton, receipt: Receipt, evaluated: Callable[[Receipt], list[dict[str, Any]]]) -> None:
    row = evaluated(receipt)[0]
    (pid,) = triton.processes("generator-r-one")
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 600
    with beside(Load(triton, {}).heal):
        while time.monotonic() < deadline:
            with suppress(client.AskError):
                assert client.ask(row["question"], seconds=10, triton=triton).text == row["answer"]
                return
    raise AssertionError("the server did not heal within 600 s")
