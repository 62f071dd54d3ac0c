"""A real Prometheus reads the gateway with the settings of infra/prometheus."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.gateway.keys import Role
from pipelines.system import processes
from tests.gateway.conftest import GENEROUS, run_gateway
from tests.gateway.test_front import BODY, CHAT, call
from tests.serving.conftest import ROOT

PROMETHEUS = shutil.which("prometheus")
SETTINGS = ROOT / "infra/prometheus"

pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="Prometheus is not installed (apt-get install prometheus)"
)


class Prometheus:
    """A running server."""

    def __init__(self, url: str):
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result


@pytest.fixture(scope="module")
def budgeted_url(assistant: Path, new_key: Callable[..., str]) -> Iterator[str]:
    """A gateway whose tenant has a budget, after a question."""
    tenant = {**GENEROUS, "monthly_budget": 1000.0}
    limits = {"failed_keys_per_minute": 1000, "key": GENEROUS, "tenant": tenant}
    with run_gateway(limits=limits) as url:
        assert call(url, CHAT, BODY, new_key()).status == 200
        yield url


@pytest.fixture(scope="module")
def prometheus(
    budgeted_url: str, new_key: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    key = folder / "assistant.key"
    key.write_text(new_key("monitoring", role=Role.OPERATOR))
    settings = (SETTINGS / "prometheus.yaml").read_text()
    for old, new in {
        "127.0.0.1:8100": budgeted_url.removeprefix("http://"),
        "/etc/prometheus/assistant.key": str(key),
        "15s": "1s",
    }.items():
        assert old in settings
        settings = settings.replace(old, new)
    (folder / "prometheus.yaml").write_text(settings)
    shutil.copy(SETTINGS / "alerts.yaml", folder)
    (port,) = processes.free_ports(1)
    assert PROMETHEUS is not None
    command = [PROMETHEUS, f"--config.file={folder}/prometheus.yaml"]
    command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 60
        while not _is_ready(server):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.5)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(server: Prometheus) -> bool:
    """Whether both addresses were read and every rule was worked out."""
    try:
        targets = server.get("targets")["activeTargets"]
        rules = server.get("rules")["groups"][0]["rules"]
    except OSError:
        return False
    is_read = [target["health"] == "up" for target in targets]
    return len(is_read) == 2 and all(is_read) and all(rule["health"] == "ok" for rule in rules)


def test_prometheus_reads_the_gateway_and_the_assistant_behind_it(prometheus: Prometheus) -> None:
    jobs = {target["labels"]["job"] for target in prometheus.get("targets")["activeTargets"]}
    assert jobs == {"gateway", "assistant"}
    names = {rule["name"] for rule in prometheus.get("rules")["groups"][0]["rules"]}
    assert len(names) == 10
    (budget,) = prometheus.query("gateway_budget_ratio")
    assert (budget["metric"]["kind"], budget["metric"]["name"]) == ("tenant", "shop")
    assert 0.0005 < float(budget["value"][1]) < 0.001


def test_every_panel_of_the_dashboard_can_be_worked_out(prometheus: Prometheus) -> None:
    dashboard = json.loads((ROOT / "infra/grafana/assistant.json").read_text())
    expressions = []
    for panel in dashboard["panels"]:
        expressions += [target["expr"] for target in panel["targets"]]
    assert any("gateway_" in expression for expression in expressions)
    for expression in expressions:
        prometheus.query(expression)  # raises at a wrong one


def test_metrics_are_for_operators_alone(budgeted_url: str, new_key: Callable[..., str]) -> None:
    for path in ("/metrics", "/metrics/assistant"):
        assert call(budgeted_url, path).status == 401
        assert call(budgeted_url, path, key=new_key(role=Role.REVIEWER)).status == 403


def test_the_outcome_of_the_last_window_of_traffic_is_a_metric(
    budgeted_url: str, new_key: Callable[..., str], assistant: Path
) -> None:
    key = new_key(role=Role.OPERATOR)

    def lines() -> list[str]:
        text = call(budgeted_url, "/metrics", key=key).body.decode()
        return [line for line in text.splitlines() if line.startswith("gateway_drift_verdict{")]

    assert lines() == []
    path = assistant / "data/reports/drift/verdict.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert lines() == ['gateway_drift_verdict{outcome="unreadable"} 1.0']
    path.write_text(json.dumps(DECISION))
    assert lines() == ['gateway_drift_verdict{outcome="drift"} 1.0']


DECISION = {
    "decision_id": "d-1",
    "run_id": None,
    "when": "2026-11-21T14:02:11+00:00",
    "window": "w-20261121T140211-5b0c1d22",
    "release_id": "r-one",
    "outcome": "drift",
    "signals": ["new_topic"],
    "confirmed": True,
    "wanted": "train",
    "reaction": "train",
    "blocked_by": [],
    "num_reviewed": 30,
    "num_waiting": 0,
    "judged_to": None,
    "accepted": False,
    "verdict_digest": "0" * 64,
    "report": "data/reports/drift/windows/w.html",
    "reason": "Drift in new_topic.",
}
