"""`python -m pipelines serve` with nothing released yet: what it opens, prints and repairs."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from pipelines.gateway import database, keys
from pipelines.serving import live_record
from tests import ports
from tests.gateway.conftest import write_params
from tests.gateway.test_front import BODY, CHAT, call
from tests.ports import own_address
from tests.serving.conftest import ROOT

# In the order in which Weaviate's connection file has them.
WEAVIATE_PORTS = (
    *("Weaviate HTTP", "Weaviate gRPC", "Weaviate gossip", "Weaviate cluster data"),
    *("Weaviate consensus", "Weaviate consensus RPC"),
)
Pids = Callable[[Path], list[int]]


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


def test_what_serve_opens_is_the_handbooks_table_and_no_other_port(
    served: Serving, serving: Path, servers: Pids, keepers: Pids
) -> None:
    process = psutil.Process(served.process.pid)
    tree = [process, *process.children(recursive=True)]
    # Weaviate's keeper outlives whoever started it, so it is no child.
    tree += [psutil.Process(pid) for pid in [*servers(serving), *keepers(serving)]]
    record = live_record.read()
    assert record is not None
    weaviate = json.loads((serving / ".state/weaviate/connection.json").read_text())["ports"]
    names = dict(zip(weaviate, WEAVIATE_PORTS, strict=True))
    names |= {record.http_port: "Triton HTTP", record.grpc_port: "Triton gRPC"}
    names |= {record.metrics_port: "Triton metrics"}
    names |= {int(served.url.rpartition(":")[2]): "the gateway"}
    opened = {names[port]: address for port, address in ports.listening(tree).items()}
    assert opened == ports.documented()


def test_triton_and_the_gateway_cannot_be_reached_from_another_address(served: Serving) -> None:
    record = live_record.read()
    assert record is not None
    gateway_port = int(served.url.rpartition(":")[2])
    for port in (record.http_port, record.grpc_port, record.metrics_port, gateway_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((own_address(), port), timeout=5)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/repository/models/x/load", {"parameters": {"config": "{}"}}),
        ("POST", "/v2/repository/models/assistant/unload", {}),
        ("POST", "/v2/repository/index", {}),
        ("POST", "/v2/logging", {"log_verbose_level": 1}),
        ("POST", "/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}),
    ],
)
def test_nobody_controls_the_served_triton_without_its_key(
    served: Serving, method: str, path: str, body: dict[str, object]
) -> None:
    record = live_record.read()
    assert record is not None
    # As a web page in the operator's browser would send it: the text is JSON, the type is not.
    headers = {"Content-Type": "text/plain", "Origin": "https://elsewhere.example"}
    content = json.dumps(body).encode()
    url = f"http://127.0.0.1:{record.http_port}{path}"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, content, headers, method=method))
    assert caught.value.code == 403
    assert record.connect().is_alive()


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
