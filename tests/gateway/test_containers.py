"""The gateway as Compose starts it: alone, with an assistant, databases and a Redis elsewhere.

The commands and variables are those of infra/compose.yaml and infra/triton/serve; only addresses
and paths are this machine's.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from pipelines import files, vectorstore
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.traffic import FEEDBACK
from pipelines.errors import UserError
from pipelines.serving import triton_installation
from pipelines.serving.triton_connection import CONTROL_APIS, Triton
from pipelines.system import processes
from pipelines.vectorstore import build_index
from tests.gateway.conftest import wait_until_healthy, write_params
from tests.gateway.servers import POSTGRES, run_postgres
from tests.gateway.test_front import BODY, CHAT, call
from tests.serving.conftest import ROOT

COMPOSE = yaml.safe_load((ROOT / "infra/compose.yaml").read_text())["services"]
START_SECONDS = 180
LOOPBACK = "127.0.0.1"
Process = subprocess.Popen[bytes]
Environment = dict[str, str]


class Machine(NamedTuple):
    """Where the gateway runs: its folder, as in its image without a clone, and its addresses."""

    folder: Path
    port: int
    environment: Environment

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def run(self, *words: str) -> str:
        """What a command prints, by `docker compose exec gateway` or in a container of its own."""
        process = subprocess.run(
            [sys.executable if word == ".venv/bin/python" else word for word in words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout


@pytest.fixture(scope="module")
def triton(serving: Path, models: Path, export: Callable[..., ReleaseRecord]) -> Iterator[Triton]:
    """A release in a Triton that infra/triton/serve has started, as in its container."""
    receipt = build_index(
        models / "chunks.parquet", models / "vectors.parquet", keep=3, sample=4, hybrid_alpha=0.7
    )
    release = serving / "models"
    export(release, receipt, "r-one")
    http_port, grpc_port, metrics_port = processes.free_ports(3)
    options = [f"--backend-directory={triton_installation.home() / 'backends'}"]
    for name, port in (("http", http_port), ("grpc", grpc_port), ("metrics", metrics_port)):
        options += [f"--{name}-address={LOOPBACK}", f"--{name}-port={port}"]
    log = serving / "triton.log"
    with vectorstore.server_address() as addresses, log.open("w") as output:
        environment = triton_installation.environment(
            {
                **addresses,
                "ASSISTANT_MODELS": str(release),
                "ASSISTANT_GRPC": f"{LOOPBACK}:{grpc_port}",
                "ASSISTANT_TRAFFIC": str(serving / "traffic"),
            }
        )
        environment["PATH"] = f"{triton_installation.program().parent}:{environment['PATH']}"
        process = subprocess.Popen(
            ["sh", str(ROOT / "infra/triton/serve"), *options],
            stdout=output,
            stderr=output,
            env=environment,
            preexec_fn=processes.end_with_parent,  # noqa: PLW1509
        )
        server = Triton(http_port, grpc_port, metrics_port, log, process)
        try:
            wait_for(server.is_ready, server)
            yield server
        finally:
            process.terminate()
            process.wait(60)


def wait_for(is_true: Callable[[], bool], server: Triton) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, server.last_lines(40)
        time.sleep(0.2)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a server, as of the database's administrator."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed")
    with run_postgres() as url:
        yield url.replace("+psycopg", "")


@pytest.fixture(params=["sqlite", "postgresql"])
def machine(
    request: pytest.FixtureRequest, triton: Triton, serving: Path, tmp_path: Path
) -> Machine:
    """Without a clone of Git, and with the traffic log's volume."""
    write_params()
    shutil.copy("params.yaml", tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/traffic").symlink_to(serving / "traffic")
    # A fresh process of Python, as in a container: nothing of this one's variables but the path.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    variables = COMPOSE["gateway"]["environment"]
    assert {name for name in variables if name.startswith("ASSISTANT_")} == {
        *("ASSISTANT_URL", "ASSISTANT_GRPC_PORT", "ASSISTANT_METRICS_PORT")
    }
    environment |= {
        "ASSISTANT_URL": triton.url,
        "ASSISTANT_GRPC_PORT": str(triton.grpc_port),
        "ASSISTANT_METRICS_PORT": str(triton.metrics_port),
    }
    if request.param == "postgresql":
        administrator = make_url(request.getfixturevalue("postgres"))
        address = make_url(interpolate(variables["GATEWAY_DATABASE_URL"]))
        address = address.set(host=administrator.host, port=administrator.port)
        environment["GATEWAY_DATABASE_URL"] = address.render_as_string(hide_password=False)
    (port,) = processes.free_ports(1)
    return Machine(tmp_path, port, environment)


def interpolate(text: str) -> str:
    """A value of the Compose file with a password for each variable."""
    return re.sub(r"\$\{\w+:\?[^}]*\}", secrets.token_hex(8), text)


@contextmanager
def run_gateway(machine: Machine) -> Iterator[Process]:
    """The command of the Compose service, on this port of this machine alone."""
    words: list[str] = COMPOSE["gateway"]["command"]
    own = {".venv/bin/python": sys.executable, "0.0.0.0": LOOPBACK, "8100": str(machine.port)}  # noqa: S104
    assert own.keys() <= {*words}
    log = machine.folder / "gateway.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [own.get(word, word) for word in words],
            cwd=machine.folder,
            stdout=output,
            stderr=output,
            env=machine.environment,
            preexec_fn=processes.end_with_parent,  # noqa: PLW1509
        )
    try:
        wait_until_healthy(machine.url, process, log)
        yield process
    finally:
        process.terminate()
        process.wait(60)
    assert "Traceback" not in log.read_text(), log.read_text()


def make_database(machine: Machine, administrator: str) -> str:
    """Runs infra/containers/database, which Compose runs before the gateway."""
    (script,) = COMPOSE["gateway-database"]["command"]
    environment = {**machine.environment, "POSTGRES_URL": administrator}
    return machine._replace(environment=environment).run(sys.executable, str(ROOT / script))


def make_key(machine: Machine, role: str) -> str:
    """By `docker compose exec gateway`."""
    words = [".venv/bin/python", "-m", "pipelines", "keys", "create"]
    output = machine.run(*words, "--tenant", "shop", "--role", role)
    match = re.search(r"ak-\S+", output)
    assert match, output
    return match[0]


def test_the_gateway_of_the_compose_file_answers(
    machine: Machine, triton: Triton, request: pytest.FixtureRequest, serving: Path
) -> None:
    if "GATEWAY_DATABASE_URL" in machine.environment:
        administrator = request.getfixturevalue("postgres")
        for _ in range(2):  # safe to repeat
            assert "database gateway is there" in make_database(machine, administrator)
        check_that_its_user_opens_no_other_database(machine, administrator)
    with run_gateway(machine):
        key = make_key(machine, "asker")
        readiness = call(machine.url, "/readyz")
        assert (readiness.status, readiness.body["problems"]) == (200, [])
        answer = call(machine.url, CHAT, BODY, key)
        assert answer.status == 200, answer.body
        assert answer.body["choices"][0]["message"]["content"]
        assert answer.headers["x-release-id"] == "r-one"
        vector = call(machine.url, "/v1/embeddings", {"model": "embedder", "input": "Who?"}, key)
        assert len(vector.body["data"][0]["embedding"]) == 384
        check_feedback(machine, key, answer.headers["x-request-id"], serving)
        metrics = call(machine.url, "/metrics/assistant", key=make_key(machine, "operator"))
        assert b"nv_inference_request_success" in metrics.body
        check_that_nobody_controls(triton)


def check_feedback(machine: Machine, key: str, request_id: str, serving: Path) -> None:
    """It lies beside Triton's log of the same request, where `monitor` and `review` look."""
    body = {"request_id": request_id, "thumb": "up"}
    assert call(machine.url, "/v1/feedback", body, key).status == 200
    paths = sorted((serving / "traffic/feedback").glob("*.parquet"))
    request_ids: list[str] = []
    for path in paths:
        request_ids += [row["request_id"] for row in files.read(path, FEEDBACK)]
    assert request_id in request_ids


def check_that_nobody_controls(triton: Triton) -> None:
    """The calls of the control key, without it."""
    calls = {
        "metadata": ("GET", "/v2"),
        "model-config": ("GET", "/v2/models/assistant/config"),
        "model-repository": ("POST", "/v2/repository/models/assistant/unload"),
        "statistics": ("GET", "/v2/models/assistant/stats"),
        "shared-memory": ("GET", "/v2/systemsharedmemory/status"),
        "trace": ("GET", "/v2/trace/setting"),
        "logging": ("GET", "/v2/logging"),
    }
    assert calls.keys() == set(CONTROL_APIS)
    for method, path in calls.values():
        status, body = triton._call(method, path, {} if method == "POST" else None)
        assert status == 403, (path, body)
    with pytest.raises(UserError, match="restricted"):
        triton.unload("assistant")  # by gRPC


def check_that_its_user_opens_no_other_database(machine: Machine, administrator: str) -> None:
    own = make_url(machine.environment["GATEWAY_DATABASE_URL"]).set(drivername="postgresql")
    with psycopg.connect(own.render_as_string(hide_password=False)) as connection:
        connection.execute("CREATE TABLE probe ()")
        connection.execute("DROP TABLE probe")
    other = own.set(database=make_url(administrator).database)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(other.render_as_string(hide_password=False))


@pytest.mark.parametrize("machine", ["sqlite"], indirect=True)
def test_a_gateway_says_when_its_triton_is_gone(machine: Machine, triton: Triton) -> None:
    """The last test of this file: it ends Triton."""
    assert triton.process is not None
    with run_gateway(machine):
        key = make_key(machine, "asker")
        assert call(machine.url, "/readyz").status == 200
        triton.process.terminate()
        triton.process.wait(60)
        readiness = call(machine.url, "/readyz")
        assert (readiness.status, readiness.body["problems"]) == (503, ["assistant"])
        answer = call(machine.url, CHAT, BODY, key)
        assert (answer.status, answer.body["error"]["type"]) == (503, "server_error")
        assert call(machine.url, "/healthz").status == 200
