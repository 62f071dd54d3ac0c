"""`python -m pipelines serve` with nothing released yet: what it opens, prints and repairs."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from pipelines.gateway import database, keys
from pipelines.serving import live_record
from tests.gateway.conftest import write_params
from tests.gateway.test_front import BODY, CHAT, call
from tests.serving.conftest import ROOT

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


class Serving(NamedTuple):
    """A running `serve`."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def wait(self, what: str, is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not is_true():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"{what}: {self.log.read_text()}"
            time.sleep(0.2)

    def gateway(self) -> psutil.Process:
        (process,) = [
            child
            for child in psutil.Process(self.process.pid).children()
            if child.cmdline()[-1:] == ["gateway"]
        ]
        return process


@pytest.fixture(scope="module")
def served(serving: Path) -> Iterator[Serving]:
    url = f"http://127.0.0.1:{write_params()}"
    log = Path("serve.log").absolute()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines", "serve"],
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    running = Serving(process, url, log)
    running.wait("serve", lambda: "Ctrl-C stops it" in log.read_text())
    yield running
    process.terminate()
    assert process.wait(90) == 0, log.read_text()


def test_the_first_key_is_shown_once_and_opens_the_door(served: Serving) -> None:
    (key,) = set(re.findall(r"ak-\w{12}-[\w-]{43}", served.log.read_text()))
    assert keys.count(database.connect()) == 1
    assert call(served.url, "/v1/models", key=key).status == 200
    answer = call(served.url, CHAT, BODY, key)
    assert (answer.status, answer.body["error"]["type"]) == (503, "server_error")


def test_gateway_and_triton_open_the_ports_of_the_handbooks_table_and_no_other(
    served: Serving,
) -> None:
    """Those of Weaviate, whose keeper is no child, are tested in vectorstore."""
    process = psutil.Process(served.process.pid)
    ports: dict[int, str] = {}
    for child in [process, *process.children(recursive=True)]:
        for connection in child.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                ports[connection.laddr.port] = connection.laddr.ip
    assert set(ports.values()) <= LOOPBACK
    record = live_record.read()
    assert record is not None
    triton = {record.http_port, record.grpc_port, record.metrics_port}
    assert set(ports) == {*triton, int(served.url.rpartition(":")[2])}


def test_the_control_key_is_for_its_owner_alone(served: Serving) -> None:
    assert live_record.key_path().stat().st_mode & 0o777 == 0o600


def test_a_gateway_that_was_killed_comes_back(served: Serving) -> None:
    before = served.gateway()
    before.send_signal(signal.SIGKILL)
    before.wait(10)
    served.wait("the gateway", lambda: "starting it again" in served.log.read_text())
    served.wait("an answer", lambda: is_healthy(served.url))
    assert served.gateway().pid != before.pid


def is_healthy(url: str) -> bool:
    try:
        return call(url, "/healthz").status == 200
    except OSError:
        return False
