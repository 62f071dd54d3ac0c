"""10,000 requests with kills of model processes in the middle.

No answer is wrong, every request has its row, and the server heals by itself.

infra/test -m slow tests/serving/test_load.py
(about four minutes on 2 cores; LOAD_REQUESTS=1000 for a first look)
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
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines import vectorstore
from pipelines.config.serve import Prices, ServeConfig
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.serving import client, live_routes, live_server, locations, recent_traffic
from pipelines.serving.client import Question
from pipelines.serving.triton_connection import Triton

SERVE = ServeConfig(
    max_requests_at_once=32,
    max_waiting=128,
    max_seconds=15.0,
    keep_loaded=2,
    keep_files=3,
    prices=Prices(prompt_tokens_per_million=0.0, new_tokens_per_million=0.0, request=0.0),
)
NUM_REQUESTS = int(os.environ.get("LOAD_REQUESTS", "10000"))
NUM_KILLS = 4
NUM_CLIENTS = 16
# Refused at the door, and unreachable: the server has promised nothing.
NOT_ACCEPTED = ("overloaded", "no answer from")


@pytest.fixture(scope="module")
def receipt(serving: Path, models: Path) -> Receipt:
    chunks = models / "chunks.parquet"
    vectors = models / "vectors.parquet"
    return vectorstore.build_index(chunks, vectors, keep=3, sample=4, hybrid_alpha=0.7)


@pytest.fixture(scope="module")
def triton(
    serving: Path, receipt: Receipt, export: Callable[..., ReleaseRecord]
) -> Iterator[Triton]:
    export(Path("export"), receipt, "r-one")
    live_server.install(Path("export"), "r-one")
    vectorstore.point_alias(live_server.alias("r-one"), receipt.collection)
    with (
        vectorstore.server_address() as environment,
        live_server.hold(SERVE, ["r-one"], environment) as live,
    ):
        live_routes.write([("r-one", 1.0)])
        yield live


class Kind(StrEnum):
    """What a request came to."""

    OK = "ok"
    WRONG = "wrong"
    ERROR = "error"


class Outcome(NamedTuple):
    """What a request came to, and why."""

    kind: Kind
    message: str


@dataclass
class Load:
    """Clients that ask questions with known answers."""

    triton: Triton
    answers: dict[str, str]  # question -> expected answer
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # by request id
    kills: list[int] = field(default_factory=list)

    def ask(self, number: int) -> None:
        text = list(self.answers)[number % len(self.answers)]
        question = Question(text, request_id=f"load-{number}", timeout_seconds=10)
        try:
            answer = client.ask(question, self.triton).text
        except client.AskError as error:
            self.outcomes[question.request_id] = Outcome(Kind.ERROR, str(error))
            time.sleep(1)  # as a polite client
            return
        expected = self.answers[text]
        difference = f"{text!r}: {answer!r} instead of {expected!r}"
        kind = Kind.OK if answer == expected else Kind.WRONG
        self.outcomes[question.request_id] = Outcome(kind, difference)

    def kill(self, end: threading.Event) -> None:
        """Kill the language model's process each time another part of the requests has ended."""
        while not end.wait(0.1) and len(self.kills) < NUM_KILLS:
            next_kill = NUM_REQUESTS * (len(self.kills) + 1) / (NUM_KILLS + 1)
            if len(self.outcomes) >= next_kill:
                for pid in self.triton.processes().get("generator-r-one", []):
                    os.kill(pid, signal.SIGKILL)
                    self.kills.append(pid)

    def heal(self, end: threading.Event) -> None:
        """As `serve` does."""
        dead_models: set[str] = set()
        while not end.wait(1):
            with suppress(OSError):
                dead_models = live_server.heal(self.triton, dead_models)

    def messages(self, kind: Kind) -> list[str]:
        outcomes = self.outcomes.values()
        return [outcome.message for outcome in outcomes if outcome.kind is kind]

    def request_ids(self, kind: Kind) -> set[str]:
        pairs = self.outcomes.items()
        return {request_id for request_id, outcome in pairs if outcome.kind is kind}

    def accepted_request_ids(self) -> set[str]:
        request_ids = set()
        for request_id, outcome in self.outcomes.items():
            is_error = outcome.kind is Kind.ERROR
            if not (is_error and any(words in outcome.message for words in NOT_ACCEPTED)):
                request_ids.add(request_id)
        return request_ids


@contextmanager
def in_background(*works: Callable[[threading.Event], None]) -> Iterator[None]:
    """Threads that work until the block ends."""
    end = threading.Event()
    threads = [threading.Thread(target=work, args=(end,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def wait_for_rows(count: int) -> list[dict[str, Any]]:
    """The log's rows of the load, as soon as there are `count`."""
    deadline = time.monotonic() + 300
    rows: list[dict[str, Any]] = []
    while len(rows) < count and time.monotonic() < deadline:
        time.sleep(1)
        recent = recent_traffic.requests(locations.traffic_folder(), 0.0)
        rows = [row for row in recent if row["request_id"].startswith("load-")]
    return rows


@pytest.mark.slow
def test_kills_under_load_give_errors_but_no_wrong_answer_and_no_missing_row(
    triton: Triton, receipt: Receipt, evaluated: Callable[[Receipt], list[dict[str, Any]]]
) -> None:
    load = Load(triton, {row["question"]: row["answer"] for row in evaluated(receipt)})
    start = time.monotonic()
    with in_background(load.kill, load.heal), ThreadPoolExecutor(NUM_CLIENTS) as pool:
        list(pool.map(load.ask, range(NUM_REQUESTS)))
    seconds = time.monotonic() - start
    kinds = Counter(outcome.kind.value for outcome in load.outcomes.values())
    print(f"\n{NUM_REQUESTS} requests in {seconds:.0f} s, {len(load.kills)} kills: {kinds}")
    errors = [message.split(" (request")[0] for message in load.messages(Kind.ERROR)]
    print(Counter(error.split("': ")[-1] for error in errors).most_common(5))
    assert len(load.kills) == NUM_KILLS
    assert load.messages(Kind.WRONG) == []
    assert kinds["ok"] > NUM_REQUESTS / 2
    accepted = load.accepted_request_ids()
    rows = wait_for_rows(len(accepted))
    assert Counter(row["request_id"] for row in rows) == Counter(accepted)
    logged_as_ok = {row["request_id"] for row in rows if row["status"] == "ok"}
    assert logged_as_ok >= load.request_ids(Kind.OK)


@pytest.mark.slow
def test_the_server_heals_by_itself_after_a_kill(
    triton: Triton, receipt: Receipt, evaluated: Callable[[Receipt], list[dict[str, Any]]]
) -> None:
    row = evaluated(receipt)[0]
    question = Question(row["question"], timeout_seconds=10)
    (pid,) = triton.processes()["generator-r-one"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 600
    with in_background(Load(triton, {}).heal):
        while time.monotonic() < deadline:
            with suppress(client.AskError):
                assert client.ask(question, triton).text == row["answer"]
                return
    raise AssertionError("the server did not heal within 600 s")
