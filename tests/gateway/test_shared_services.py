"""What several gateways share: a Redis as the Compose file starts it, and one new database."""

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
import yaml

from pipelines.config.gateway import Allowance, Limits
from pipelines.gateway import database
from pipelines.gateway.api_errors import TooMany
from pipelines.gateway.keys import Key, Role
from pipelines.gateway.request_limits import RequestLimits
from pipelines.system import processes
from tests.gateway.conftest import GENEROUS
from tests.gateway.servers import POSTGRES, REDIS, run_postgres
from tests.serving.conftest import ROOT

PASSWORDS = {"REDIS_PASSWORD": "of-airflow", "GATEWAY_REDIS_PASSWORD": "of-the-gateway"}
KEY = Key("000000000ada", "shop", Role.ASKER)
NUM_GATEWAYS = 6


@pytest.fixture(params=["compose", "kubernetes"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """The port of a Redis that the command of infra/compose.yaml or infra/kubernetes starts."""
    if REDIS is None:
        pytest.skip("Redis is not installed")
    (number,) = processes.free_ports(1)
    shell, option, script = command(request.param)
    here = f"--port {number} --bind 127.0.0.1 --dir {tmp_path}"
    environment = {"PATH": os.environ["PATH"], **PASSWORDS}
    process = subprocess.Popen(
        [shell, option, f"{script} {here}"], env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while processes.is_free(number):
        assert process.poll() is None
        assert time.monotonic() < deadline, "Redis does not listen"
        time.sleep(0.05)
    yield number
    process.terminate()
    process.wait(20)


def command(kind: str) -> list[str]:
    if kind == "compose":
        compose = yaml.safe_load((ROOT / "infra/compose.yaml").read_text())
        words: list[str] = compose["services"]["redis"]["command"]
        return [word.replace("$$", "$") for word in words]
    for item in yaml.safe_load_all((ROOT / "infra/kubernetes/redis.yaml").read_text()):
        if item["kind"] == "StatefulSet":
            (container,) = item["spec"]["template"]["spec"]["containers"]
            return list(container["command"])
    raise AssertionError("redis.yaml has no StatefulSet")


def test_the_gateways_user_of_redis_counts_requests_and_reaches_no_queue(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = PASSWORDS["GATEWAY_REDIS_PASSWORD"]
    monkeypatch.setenv("GATEWAY_LIMITS_URL", f"redis://gateway:{password}@127.0.0.1:{port}/0")
    unlimited = Allowance.model_validate(GENEROUS)
    allowance = unlimited.model_copy(update={"requests_per_minute": 2, "tokens_per_minute": 1000})
    limits = Limits(failed_keys_per_minute=2, key=allowance, tenant=unlimited)

    async def ask(times: int) -> None:
        gateway = RequestLimits(limits)
        for _ in range(times):
            await gateway.count(KEY, 10)
            await gateway.count_more_tokens(KEY, 5)
            await gateway.count_failure("10.0.0.9")

    asyncio.run(ask(1))
    with pytest.raises(TooMany, match="2 requests a minute are allowed"):
        asyncio.run(ask(2))  # another gateway goes on counting

    gateway = redis.Redis(port=port, username="gateway", password=password)
    queue = "default"  # airflow.queue, a list of Celery's
    for words in (
        ("LPUSH", queue, "a task"),
        ("LRANGE", queue, 0, -1),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("FLUSHALL",),
        ("ACL", "LIST"),
        ("PUBLISH", "celery", "a message"),
        ("EVAL", f"return redis.call('lpush', '{queue}', 'a task')", 0),
    ):
        with pytest.raises(redis.exceptions.ResponseError, match="permission|can't access"):
            gateway.execute_command(*words)  # type: ignore[no-untyped-call]
    airflow = redis.Redis(port=port, password=PASSWORDS["REDIS_PASSWORD"])
    assert airflow.lpush(queue, "a task") == 1
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=port).ping()


@pytest.mark.skipif(not POSTGRES, reason="PostgreSQL is not installed")
def test_gateways_that_start_at_once_on_a_new_database_all_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    barrier = threading.Barrier(NUM_GATEWAYS)

    def connect(_number: int) -> str:
        barrier.wait()
        engine = database.connect()
        engine.dispose()
        return "connected"

    with run_postgres() as url, ThreadPoolExecutor(NUM_GATEWAYS) as pool:
        monkeypatch.setenv(database.VARIABLE, url)
        assert list(pool.map(connect, range(NUM_GATEWAYS))) == ["connected"] * NUM_GATEWAYS
