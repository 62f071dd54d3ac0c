"""10,000 requests with kills of model processes in the middle: no wrong answer, a row for every request, and the server heals by itself.

infra/test -m slow tests/serving/test_load.py
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
NUM_REQUESTS = int(os.environ.get("LOAD_REQUESTS", "10000"))


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


@pytest.mark.slow
def test_kills_in_the_middle_of_a_load_give_errors_but_no_wrong_answer_and_no_missing_row(triton: Triton, receipt: Receipt, evaluated: Callable[[Receipt], list[dict[str, Any]]]) -> None:
    expected = {row["question"]: row["answer"] for row in evaluated(receipt)}
    questions = list(expected)
    given: dict[str, tuple[str, str]] = {}
    ended = threading.Event()

    def ask(number: int) -> None:
        question, request_id = questions[number % len(questions)], f"load-{number}"
        try:
            given[request_id] = ("ok" if client.ask(question, request_id=request_id, seconds=10, triton=triton).text == expected[question] else "wrong", "")
        except client.AskError as error:
            given[request_id] = ("error", str(error))
            time.sleep(0.05)

    def kill() -> None:
        while not ended.wait(20):
            for pid in triton.processes("generator-r-one"):
                os.kill(pid, signal.SIGKILL)
                kills.append(pid)

    def heal() -> None:  # as `serve` does
        dead: set[str] = set()
        while not ended.wait(1):
            dead = live.heal(triton, dead)

    kills: list[int] = []
    beside = [threading.Thread(target=kill), threading.Thread(target=heal)]
    for thread in beside:
        thread.start()
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(NUM_REQUESTS)))
    ended.set()
    for thread in beside:
        thread.join()
    seconds = time.monotonic() - began
    print(f"\n{NUM_REQUESTS} requests in {seconds:.0f} s, {len(kills)} kills: {Counter(kind for kind, _ in given.values())}")
    print(Counter(error.split(" (request")[0].split("': ")[-1] for kind, error in given.values() if kind == "error").most_common(5))
    time.sleep(6)
    rows = [row for row in traffic.requests(client.traffic_folder(), 0.0) if row["request_id"].startswith("load-")]
    accepted = {request_id for request_id, (_, error) in given.items() if "overloaded" not in error and "no answer from" not in error}
    assert len(kills) >= 3
    assert Counter(kind for kind, _ in given.values())["wrong"] == 0
    assert Counter(row["request_id"] for row in rows) == Counter(accepted)
    by_id = {row["request_id"]: row for row in rows}
    assert all(by_id[request_id]["status"] == "ok" for request_id, (kind, _) in given.items() if kind == "ok")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # it heals without anybody's help
        with suppress(client.AskError):
            assert client.ask(questions[0], seconds=10).text == expected[questions[0]]
            return
        time.sleep(1)
    raise AssertionError("the server did not heal within 60 s")
