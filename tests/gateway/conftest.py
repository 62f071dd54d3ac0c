"""A gateway in front of a real assistant, in a process of its own, on a free port.

A second one stands in front of no assistant, for what is decided before one is asked.
"""

import os
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser

from pipelines import vectorstore
from pipelines.config import params
from pipelines.config.gateway import GatewayConfig
from pipelines.config.serve import ServeConfig
from pipelines.contracts.release import ReleaseRecord
from pipelines.gateway import database, keys, process
from pipelines.gateway.keys import Role
from pipelines.serving import live_routes, live_server, locations
from pipelines.system import processes
from pipelines.vectorstore import build_index, hold_server, point_alias
from tests.conftest import FOREIGN_VARIABLES, enter_new_clone
from tests.gateway import browsers, proxies
from tests.gateway.issuers import Issuer, run_issuer
from tests.gateway.proxies import Certificate
from tests.serving.conftest import ROOT, export, models

__all__ = ["export", "models"]

RELEASES = ("r-one", "r-two")
MAX_WAITING = 40
PRICES = {"prompt_tokens_per_million": 1000.0, "new_tokens_per_million": 2000.0, "request": 0.5}
GENEROUS = {
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "concurrent_requests": None,
    "monthly_budget": None,
}


def write_params(**gateway: Any) -> int:
    """params.yaml in the current folder, with these values of `gateway`; returns the port."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    (port,) = processes.free_ports(1)
    limits = {"failed_keys_per_minute": 1000, "key": GENEROUS, "tenant": GENEROUS}
    values["gateway"] |= {"port": port, "limits": limits, **gateway}
    values["serve"]["prices"] = PRICES
    values["export"] |= {
        "max_prompt_tokens": 200,
        "max_new_tokens": 24,
        "max_question_characters": 300,
    }
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return int(values["gateway"]["port"])


def gateway_config(**gateway: Any) -> GatewayConfig:
    """The section `gateway` of this repository's params.yaml with these values."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["gateway"]
    return GatewayConfig.model_validate({**values, **gateway})


@contextmanager
def run_gateway(**gateway: Any) -> Iterator[str]:
    """A gateway with these settings; gives its address."""
    port = write_params(**gateway)
    url = process.url(gateway_config(port=port, **gateway))
    log = Path(f"gateway-{port}.log")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "pipelines", "gateway"],
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        wait_until_healthy(url, server, log)
        yield url
    finally:
        server.terminate()
        server.wait(60)
    assert "Traceback" not in log.read_text(), log.read_text()


def wait_until_healthy(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 180
    context = ssl._create_unverified_context()  # whoever it is, it listens
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5, context=context):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no gateway within 180 s: {log.read_text()}")


@pytest.fixture(scope="session")
def live_clone(
    tmp_path_factory: pytest.TempPathFactory, models: Path, export: Callable[..., ReleaseRecord]
) -> Iterator[Path]:
    """A clone with a live server: r-one answers, r-two is installed and not loaded.

    Its start takes most of the time of a module's tests, so all modules share it.
    """
    folder = tmp_path_factory.mktemp("live") / "clone"
    start = Path.cwd()
    with enter_new_clone(folder), hold_server():
        write_params()
        config = params.load().section(ServeConfig).model_copy(update={"max_waiting": MAX_WAITING})
        chunks, vectors = models / "chunks.parquet", models / "vectors.parquet"
        receipt = build_index(chunks, vectors, keep=3, sample=4, hybrid_alpha=0.7)
        for release_id in RELEASES:
            export(Path(release_id), receipt, release_id)
            live_server.install(Path(release_id), release_id)
            point_alias(live_server.alias(release_id), receipt.collection)
            shutil.rmtree(release_id)
        with (
            vectorstore.server_address() as environment,
            live_server.hold(config, ["r-one"], environment),
        ):
            os.chdir(start)
            yield folder
            os.chdir(folder)


@pytest.fixture(scope="module")
def assistant(live_clone: Path) -> Iterator[Path]:
    """The shared clone as the current folder, with a new database and a new traffic log."""
    with pytest.MonkeyPatch.context() as patch:
        for name in FOREIGN_VARIABLES:
            patch.delenv(name, raising=False)
        patch.chdir(live_clone)
        write_params()
        live_routes.write([("r-one", 1.0)])
        shutil.rmtree(database.default_folder(), ignore_errors=True)
        for path in locations.traffic_folder().rglob("*.parquet"):
            path.unlink()
        yield live_clone


@pytest.fixture
def two_releases(assistant: Path) -> Iterator[None]:
    """Each answers half of the askers."""
    triton = live_server.find_running()
    assert triton is not None
    if "r-two" not in live_server.loaded_releases(triton):
        live_server.load(triton, "r-two")
    live_routes.write([("r-one", 0.5), ("r-two", 0.5)])
    yield
    live_routes.write([("r-one", 1.0)])


@pytest.fixture(scope="module")
def gateway(assistant: Path) -> Iterator[str]:
    """The address of a gateway without limits in front of the assistant."""
    with run_gateway() as url:
        yield url


@pytest.fixture
def limited_gateway(assistant: Path) -> Callable[..., AbstractContextManager[str]]:
    """Starts a gateway with settings of its own in front of the assistant."""
    return run_gateway


@pytest.fixture(scope="module")
def new_key(assistant: Path) -> Callable[..., str]:
    """Makes a key."""

    def create(tenant: str = "shop", role: Role = Role.ASKER, expires: float | None = None) -> str:
        return keys.create(database.connect(), tenant, role, expires)

    return create


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return proxies.issue_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Signs tokens, and publishes its keys."""
    with run_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.launch() as browser:
        yield browser


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complains about, such as a breach of a page's policy."""
    return []
