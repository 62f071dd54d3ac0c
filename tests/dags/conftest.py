"""A real Airflow over a small workspace: scheduler, DAG processor, API server and triggerer on free ports, data below the workspace."""

import importlib.util
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import end
from tests.end_to_end.test_pipeline import change, make_workspace

ROOT = Path(__file__).parents[2]
QUICK = {
    "base.made": {"vocabulary_size": 1000, "hidden_size": 64, "num_layers": 1, "num_heads": 2, "num_tokens": 20000, "sequence_length": 64, "batch_size": 8, "learning_rate": 0.005},
    "finetune.method": "full",
    "finetune.learning_rate": 0.004,
    "finetune.num_epochs": 8.0,
    "gate.champion_margin": 0.3,  # 45 questions: the interval alone is 0.16 wide to each side
    "evaluate.max_new_tokens": 32,
    "airflow.retry_delay_seconds": 1,
    "airflow.keep_checkouts": 1,
}
SETTINGS = {
    "PIPELINE_PYTHON": str(ROOT / ".venv/bin/python"),  # not by the workspace's link to it: DeepSpeed compiles its operator again for every path
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,ada:admin",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # no test changes a DAG: parsing anew would only take time from the tasks
}


@dataclass
class Airflow:
    """The REST API of a running Airflow, as its users see it."""

    folder: Path
    port: int
    tokens: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None, user: str = "admin") -> tuple[int, Any]:
        """Status and answer (JSON, or the text of an error)."""
        headers = {"Content-Type": "application/json"} | ({} if path == "/auth/token" else {"Authorization": f"Bearer {self._token(user)}"})
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, headers=headers, data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(asked, timeout=300) as answer:  # a machine under load answers late
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def get(self, path: str) -> Any:
        """The answer's JSON. Airflow's own errors (5xx) pass: 3.3 answers 500 for an asset's event while the run it made has not begun, and SQLite may be locked."""
        deadline = time.monotonic() + 60
        while (answer := self.call("GET", path))[0] >= 500 and time.monotonic() < deadline:
            time.sleep(0.5)
        assert answer[0] == 200, answer
        return answer[1]

    def _token(self, user: str) -> str:
        if user == "nobody":
            return "none"
        if user not in self.tokens:
            passwords = json.loads((self.folder / ".state/airflow/passwords.json").read_text())
            self.tokens[user] = self.call("POST", "/auth/token", {"username": user, "password": passwords[user]})[1]["access_token"]
        return self.tokens[user]

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        status, made = self.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})
        assert status == 200, made
        return str(made["dag_run_id"])

    def tasks(self, dag: str, run: str) -> dict[str, Any]:
        return {task["task_id"]: task for task in self.get(f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]}

    def states(self, dag: str, run: str) -> dict[str, str]:
        return {name: task["state"] for name, task in self.tasks(dag, run).items()}

    def state(self, dag: str, run: str) -> str:
        return str(self.get(f"/api/v2/dags/{dag}/dagRuns/{run}")["state"])

    def log(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        content = self.get(f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}")["content"]
        return "\n".join(line["event"] + "".join(f"\n{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or []) for line in content)

    def wait(self, what: str, condition: Callable[[], Any], seconds: float = 900) -> Any:
        """The condition's first true value; fails with what was waited for."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
            time.sleep(0.5)
        return found

    def finished(self, dag: str, run: str, seconds: float = 1200) -> str:
        """The run's final state, its tidying included."""
        return str(self.wait(f"the end of {dag} {run}", lambda: (state := self.state(dag, run)) in ("success", "failed") and state, seconds))


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    folder = make_airflow_workspace(tmp_path_factory.mktemp("airflow") / "clone")
    with_airflow = launcher()
    port = with_airflow.free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "WEAVIATE_", "DVC_", "GIT_"))}
    started = with_airflow.start(folder, port, (with_airflow.free_port(), with_airflow.free_port()), {**kept, "HF_HUB_OFFLINE": "1", **SETTINGS})
    running = Airflow(folder, port)
    try:
        log = folder / ".state/airflow/standalone.log"
        running.wait("Airflow's start", lambda: with_airflow.is_ready(port) or (started.poll() is not None and pytest.fail(log.read_text()[-3000:])))
        running.wait("the DAGs", lambda: len(running.get("/api/v2/dags").get("dags", [])) == 3)
        yield running
    finally:
        with_airflow.stop(started)
        end(folder)


def make_airflow_workspace(folder: Path) -> Path:
    """The small workspace with environments borrowed from this clone."""
    folder.mkdir()
    make_workspace(folder)
    change(folder, QUICK)
    for name in (".venv", ".venv-airflow", ".venv-triton"):
        (folder / name).symlink_to(ROOT / name)
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qam", "quick"], cwd=folder, check=True)
    return folder


def launcher() -> Any:
    """infra/airflow.py, which `make airflow` runs."""
    spec = importlib.util.spec_from_file_location("launcher", ROOT / "infra/airflow.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
