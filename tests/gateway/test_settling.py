"""What a killed gateway leaves under way is booked, at what the traffic log says."""

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from pipelines import files
from pipelines.config.serve import Prices
from pipelines.contracts.traffic import REQUESTS as LOG
from pipelines.gateway import accounts, database
from pipelines.gateway.accounts import UNIT, Accounts, Tokens
from pipelines.gateway.database import ACCOUNTS, REQUESTS
from pipelines.gateway.settling import Settlement
from pipelines.serving import locations
from tests.gateway.conftest import (
    GENEROUS,
    PRICES,
    gateway_config,
    run_gateway,
    wait_until_healthy,
    write_params,
)
from tests.gateway.test_accounts import (
    engine,  # noqa: F401 (a fixture)
    limits,
    order,
    postgres,  # noqa: F401 (a fixture)
)
from tests.gateway.test_front import BODY, CHAT
from tests.serving.conftest import ROOT

NOTHING = accounts.price(Prices(**PRICES), Tokens())
LONG_AGO = 3600.0


def log_row(request_id: str, status: str) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "time": datetime.datetime.now(datetime.UTC),
        "release_id": "r-one",
        "tenant": "shop",
        "position": 0.5,
        "question": "Who are you?",
        "retrieved": [],
        "answer": "An assistant." if status == "ok" else None,
        "status": status,
        "error": None if status == "ok" else "it broke",
        "refused": False,
        "guard_flags": [],
        "groundedness": None,
        "num_prompt_tokens": 100,
        "num_new_tokens": 10,
        "guard_ms": 0.0,
        "embed_ms": 0.0,
        "search_ms": 0.0,
        "generate_ms": 0.0,
        "total_ms": 0.0,
        "cost": 0.0,
    }


def age(engine: Engine, seconds: float) -> None:  # noqa: F811
    change = REQUESTS.update().values(time=REQUESTS.c.time - seconds)
    with engine.begin() as connection:
        connection.execute(change)


def settlement(engine: Engine, book: Accounts) -> Settlement:  # noqa: F811
    return Settlement(engine, gateway_config(), Prices(**PRICES), book)


def test_each_lost_request_is_booked_once_as_its_gateway_would_have(
    engine: Engine,  # noqa: F811
) -> None:
    book = Accounts(engine, limits(key_budget=None, tenant_budget=100.0))
    statuses = {1: "ok", 2: "failed", 3: "cancelled", 4: None}
    rows = []
    for number, status in statuses.items():
        lost = order(number)
        book.open(lost)
        if status:
            rows.append(log_row(lost.id, status))
    age(engine, 30.0)
    files.write(locations.traffic_folder() / "requests/x.parquet", LOG, rows)
    assert settlement(engine, book).settle() == 0, "a gateway may still be at it"
    age(engine, LONG_AGO)
    assert settlement(engine, book).settle() == 4
    assert settlement(engine, book).settle() == 0
    with database.reading(engine) as connection:
        table = connection.execute(select(REQUESTS).order_by(REQUESTS.c.id)).all()
    answered = accounts.price(Prices(**PRICES), Tokens(100, 10))
    assert [(row.status, row.cost) for row in table] == [
        ("ok", answered),
        ("failed", NOTHING),
        ("cancelled", UNIT),
        ("failed", NOTHING),
    ]
    assert (table[0].num_prompt_tokens, table[0].num_new_tokens) == (100, 10)
    assert book.amount("tenant shop") == answered + 2 * NOTHING + UNIT


def test_without_the_assistants_log_all_that_was_set_aside_is_paid(
    engine: Engine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book = Accounts(engine, limits(key_budget=None, tenant_budget=None))
    book.open(order(1))
    age(engine, LONG_AGO)
    monkeypatch.setenv("ASSISTANT_URL", "http://127.0.0.1:8000")
    assert settlement(engine, book).settle() == 1
    assert book.amount("tenant shop") == UNIT


def sums() -> tuple[int, int]:
    """What all tenants have spent by the accounts, and what the requests have cost together."""
    is_tenants = ACCOUNTS.c.owner.like("tenant %")
    with database.reading(database.connect()) as connection:
        spent = connection.scalar(select(func.sum(ACCOUNTS.c.amount)).where(is_tenants))
        cost = connection.scalar(select(func.sum(REQUESTS.c.cost)))
    return int(spent or 0), int(cost or 0)


def test_after_a_kill_in_the_middle_of_requests_the_budget_is_exact(
    assistant: Path, new_key: Callable[..., str]
) -> None:
    limits_now = {"failed_keys_per_minute": 1000, "key": GENEROUS, "tenant": GENEROUS}
    port = write_params(limits=limits_now)
    body = json.dumps({**BODY, "stream": True})
    log = Path("killed.log")
    with log.open("w") as output:
        gateway = subprocess.Popen(
            [sys.executable, "-m", "pipelines", "gateway"],
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    url = f"http://127.0.0.1:{port}"
    wait_until_healthy(url, gateway, log)
    clients = []
    for _ in range(12):
        curl = ["curl", "-sN", "-o", os.devnull, f"{url}{CHAT}", "-d", body]
        curl += ["-H", f"Authorization: Bearer {new_key()}", "-H", "Content-Type: application/json"]
        clients.append(subprocess.Popen(curl))
    engine_now = database.connect()
    is_open = REQUESTS.c.cost.is_(None)
    deadline = time.monotonic() + 60
    num_open = 0
    while num_open < 3:
        assert time.monotonic() < deadline, "no requests came"
        with database.reading(engine_now) as connection:
            num_open = int(connection.scalar(select(func.count()).where(is_open)) or 0)
    gateway.send_signal(signal.SIGKILL)
    gateway.wait(20)
    for curl_process in clients:
        curl_process.wait(60)
    age(engine_now, LONG_AGO)
    with run_gateway(limits=limits_now):
        deadline = time.monotonic() + 60
        while num_open:
            assert time.monotonic() < deadline, "a lost request was not booked"
            time.sleep(0.5)
            with database.reading(engine_now) as connection:
                num_open = int(connection.scalar(select(func.count()).where(is_open)) or 0)
    spent, cost = sums()
    assert spent == cost > 0
