"""Gateways of their own work on batches: limits, room, and kills in the middle.

A gateway works on every batch in its database, so no other one may run beside these tests.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from sqlalchemy import select

from pipelines.gateway import database, keys
from pipelines.gateway.database import REQUESTS
from pipelines.gateway.keys import Role
from pipelines.runtime.metric_names import UNDER_WAY
from tests.gateway.conftest import gateway_config, run_gateway, wait_until_healthy, write_params
from tests.gateway.servers import POSTGRES, run_postgres
from tests.gateway.test_batches import (
    CHAT,
    QUESTION,
    SETTINGS,
    begin,
    chat_line,
    connect,
    results,
    settings,
    upload,
    wait_for_end,
)
from tests.gateway.test_openai import messages
from tests.gateway.test_settling import LONG_AGO, age, sums
from tests.serving.conftest import ROOT

PLACES = 64  # serve.max_requests_at_once
NUM_DONE_AT_KILLS = (0, 4, 10)  # answered lines


def num_completed(client: OpenAI, batch_id: str) -> int:
    batch: Any = client.batches.retrieve(batch_id)
    return int(batch.request_counts.completed)


def test_no_more_batches_are_open_than_allowed_and_a_cancelled_one_ends(
    assistant: Path, new_key: Callable[..., str]
) -> None:
    with run_gateway(batches=settings(max_open=1, max_files=1)) as url:
        client = connect(url, new_key(f"shop-{time.monotonic_ns()}"))
        lines = [chat_line(f"line {number}") for number in range(60)]
        batch_id = begin(client, lines)
        with pytest.raises(openai.RateLimitError) as caught:
            upload(client, lines)
        assert caught.value.code == "max_files"
        (file,) = client.files.list()
        with pytest.raises(openai.RateLimitError) as caught:
            client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        assert caught.value.code == "max_open"
        assert client.batches.cancel(batch_id).status in ("cancelling", "cancelled")
        batch = wait_for_end(client, batch_id)
        assert batch.status == "cancelled"
        assert batch.request_counts.completed < 60
        assert len(results(client, batch.output_file_id)) == batch.request_counts.completed
        client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")


def test_a_spent_budget_is_an_error_of_the_line(
    assistant: Path, new_key: Callable[..., str]
) -> None:
    nothing: dict[str, Any] = {"requests_per_minute": None, "concurrent_requests": None}
    nothing["tokens_per_minute"] = None
    # A line sets aside at most 0.748 and costs more than 0.5, so two of them fit.
    key = {**nothing, "monthly_budget": 1.5}
    tenant = {**nothing, "monthly_budget": None}
    limits = {"failed_keys_per_minute": 3, "key": key, "tenant": tenant}
    with run_gateway(limits=limits, batches=settings(lines_at_once=1)) as url:
        client = connect(url, new_key(f"shop-{time.monotonic_ns()}"))
        lines = [chat_line(f"line {number}") for number in range(3)]
        batch = wait_for_end(client, begin(client, lines))
        assert batch.request_counts.completed == 2
        (line,) = results(client, batch.error_file_id)
        assert line["response"]["status_code"] == 429
        assert line["response"]["body"]["error"]["code"] == "key.monthly_budget"


def test_lines_do_not_count_in_the_limits_of_live_requests(
    assistant: Path, new_key: Callable[..., str]
) -> None:
    key = {
        "requests_per_minute": 4,
        "tokens_per_minute": 1000,
        "concurrent_requests": 1,
        "monthly_budget": None,
    }
    limits = {"failed_keys_per_minute": 3, "key": key, "tenant": key}
    with run_gateway(limits=limits, batches=settings()) as url:
        client = connect(url, new_key(f"shop-{time.monotonic_ns()}"))
        lines = [chat_line(f"line {number}") for number in range(8)]
        assert wait_for_end(client, begin(client, lines)).request_counts.completed == 8
        client.chat.completions.create(model="assistant", messages=messages(QUESTION))


def test_lines_leave_the_last_places_to_live_requests(
    assistant: Path, new_key: Callable[..., str]
) -> None:
    """With one place for both, no line starts while live requests keep coming."""
    batches = settings(free_places=PLACES - 1)
    with run_gateway(batches=batches) as url, run_gateway(batches=batches) as neighbour:
        clients = [connect(address, new_key()) for address in (url, neighbour)]
        is_over = threading.Event()

        def ask_on(client: OpenAI) -> None:
            while not is_over.is_set():
                client.chat.completions.create(model="assistant", messages=messages(QUESTION))

        # Most of them through another gateway, of which this one knows by the assistant alone.
        askers = [clients[number % 4 > 0] for number in range(16)]
        threads = [threading.Thread(target=ask_on, args=(client,)) for client in askers]
        for thread in threads:
            thread.start()
        time.sleep(2.0)
        client = connect(url, new_key(f"shop-{time.monotonic_ns()}"))
        batch_id = begin(client, [chat_line(f"line {number}") for number in range(6)])
        time.sleep(8.0)
        busy: Any = client.batches.retrieve(batch_id)
        is_over.set()
        for thread in threads:
            thread.join()
        assert busy.status == "in_progress"
        assert busy.request_counts.completed == 0
        batch = wait_for_end(client, batch_id)
        assert batch.request_counts.completed == 6
        operator = OpenAI(base_url=url, api_key=new_key(role=Role.OPERATOR))
        metrics = operator.get("/metrics/assistant", cast_to=str)
        assert f"{UNDER_WAY} 0" in metrics


def test_free_places_must_leave_one() -> None:
    write_params(batches={**gateway_config().batches.model_dump(), "free_places": PLACES})
    process = subprocess.run(
        [sys.executable, "-m", "pipelines", "gateway"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 1
    assert "gateway.batches.free_places is 64" in process.stderr


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(
    request: pytest.FixtureRequest, assistant: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The gateway's database, of each kind."""
    server: AbstractContextManager[str | None] = nullcontext()
    if request.param == "postgresql":
        if not POSTGRES:
            pytest.skip("PostgreSQL is not installed")
        server = run_postgres()
    with server as url:
        if url is not None:
            monkeypatch.setenv(database.VARIABLE, url)
        yield


def start_gateway(batches: dict[str, Any]) -> tuple["subprocess.Popen[bytes]", str]:
    port = write_params(batches=batches)
    log = Path(f"killed-{port}.log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines", "gateway"],
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    url = f"http://127.0.0.1:{port}"
    wait_until_healthy(url, process, log)
    return process, url


@pytest.mark.usefixtures("database_url")
def test_a_batch_outlives_kills_of_the_gateway_and_no_line_is_lost_or_written_twice() -> None:
    engine = database.connect()
    tenant = f"shop-{time.monotonic_ns()}"
    key = keys.create(engine, tenant, Role.ASKER)
    names = [f"line {number}" for number in range(24)]
    batch_id = ""
    for num_done in NUM_DONE_AT_KILLS:
        process, url = start_gateway(settings())
        client = connect(url, key)
        if not batch_id:
            batch_id = begin(client, [chat_line(name) for name in names])
        deadline = time.monotonic() + 120
        while num_completed(client, batch_id) < num_done:
            assert time.monotonic() < deadline, "no lines are answered"
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    with run_gateway(batches=settings()) as url:
        client = connect(url, key)
        batch = wait_for_end(client, batch_id, 240.0)
        assert (batch.status, batch.request_counts.completed) == ("completed", len(names))
        lines = results(client, batch.output_file_id)
        assert [line["custom_id"] for line in lines] == names
        age(engine, LONG_AGO)
        with database.reading(engine) as connection:
            query = select(REQUESTS.c.id, REQUESTS.c.status).where(REQUESTS.c.tenant == tenant)
            statuses = dict(connection.execute(query).tuples().all())
        request_ids = [line["response"]["request_id"] for line in lines]
        assert {statuses[request_id] for request_id in request_ids} == {"ok"}
        assert len(set(request_ids)) == len(names)
        # Each kill has met at most as many lines as are worked on at once.
        assert len(statuses) <= len(names) + len(NUM_DONE_AT_KILLS) * SETTINGS["lines_at_once"]
        wait_until_booked(engine)
    spent, cost = sums()
    assert spent == cost > 0


def wait_until_booked(engine: Any) -> None:
    """Until a gateway has booked what the killed ones left."""
    deadline = time.monotonic() + 90
    while True:
        with database.reading(engine) as connection:
            rows = connection.execute(select(REQUESTS).where(REQUESTS.c.cost.is_(None))).all()
        if not rows:
            return
        assert time.monotonic() < deadline, "a lost request was not booked"
        time.sleep(0.5)
