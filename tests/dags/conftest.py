"""A real Airflow over a small workspace: all services on free ports, data below the workspace."""

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

from tests.conftest import end_processes_below
from tests.end_to_end.test_pipeline import change, make_workspace

ROOT = Path(__file__).parents[2]
QUICK = {
    "base.made": {
        "vocabulary_size": 1000,
        "hidden_size": 64,
        "num_layers": 1,
        "num_heads": 2,
        "num_tokens": 20000,
        "sequence_length": 64,
        "batch_size": 8,
        "learning_rate": 0.005,
    },
    "finetune.method": "full",
    "finetune.learning_rate": 0.004,
    "finetune.num_epochs": 8.0,
    "gate.champion_margin": 0.3,  # 45 questions: the interval alone is 0.16 wide to each side
    "evaluate.max_new_tokens": 32,
    "airflow.retry_delay_seconds": 1,
    "airflow.keep_checkouts": 1,
    # The clock would start runs that no test expects.
    "airflow.refresh_schedule": None,
    "airflow.monitor_schedule": None,
}
SETTINGS = {
    # Not by the workspace's link to it: DeepSpeed compiles its operator again for every path.
    "PIPELINE_PYTHON": str(ROOT / ".venv/bin/python"),
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,ada:admin",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    # No test changes a DAG: parsing again would only take time from the tasks.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
}
FOREIGN = ("AIRFLOW", "PYTHON", "WEAVIATE_", "DVC_", "GIT_")  # variables that tests do not inherit
# Before a person answers. Airflow takes an answer that comes while the worker's process still ends
# for a lost task, and asks once more.
READING_SECONDS = 10


@dataclass
class Airflow:
    """The REST API of a running Airflow, as its users see it."""

    folder: Path
    port: int
    tokens: dict[str, str] = field(default_factory=dict)

    def call(
        self, method: str, path: str, body: Any = None, user: str = "admin"
    ) -> tuple[int, Any]:
        """Status and answer (JSON, or the text of an error)."""
        token = None if path == "/auth/token" else self._token(user)
        status, answer = send(f"http://127.0.0.1:{self.port}{path}", method, body, token)
        return status, json.loads(answer) if status < 400 else answer

    def get(self, path: str) -> Any:
        """The answer's JSON.

        Airflow's own errors (5xx) pass: 3.3 answers 500 for an asset's event while the run it made
        has not begun, and SQLite may be locked.
        """
        deadline = time.monotonic() + 60
        status, answer = self.call("GET", path)
        while status >= 500 and time.monotonic() < deadline:
            time.sleep(0.5)
            status, answer = self.call("GET", path)
        assert status == 200, answer
        return answer

    def _token(self, user: str) -> str:
        if user == "nobody":
            return "none"
        if user not in self.tokens:
            passwords = json.loads((self.folder / ".state/airflow/passwords.json").read_text())
            login = {"username": user, "password": passwords[user]}
            _, answer = self.call("POST", "/auth/token", login)
            self.tokens[user] = answer["access_token"]
        return self.tokens[user]

    def unpause(self, dag: str) -> None:
        status, answer = self.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})
        assert status == 200, answer

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a run; its id."""
        body = {"logical_date": None, "conf": conf}
        status, answer = self.call("POST", f"/api/v2/dags/{dag}/dagRuns", body)
        assert status == 200, answer
        return str(answer["dag_run_id"])

    def tasks(self, dag: str, run: str) -> dict[str, Any]:
        answer = self.get(f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances")
        return {task["task_id"]: task for task in answer["task_instances"]}

    def states(self, dag: str, run: str) -> dict[str, str]:
        return {name: task["state"] for name, task in self.tasks(dag, run).items()}

    def state(self, dag: str, run: str) -> str:
        return str(self.get(f"/api/v2/dags/{dag}/dagRuns/{run}")["state"])

    def log(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        lines: list[str] = []
        for line in self.get(path)["content"]:
            lines.append(line["event"])
            for error in line.get("error_detail") or []:
                lines.append(f"{error['exc_type']}: {error['exc_value']}")
        return "\n".join(lines)

    def wait(self, event: str, condition: Callable[[], Any], seconds: float = 900) -> Any:
        """The condition's first true value; fails with the name of the event."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{event} did not come within {seconds} s"
            time.sleep(0.5)
        return value

    def wait_for_approval(self, run: str) -> None:
        """Wait until a run of `train` asks; fails if the run fails before."""

        def is_asking() -> bool:
            states = self.states("train", run)
            if self.state("train", run) == "failed":
                pytest.fail(str(states))
            return states.get("approve") == "awaiting_input"

        self.wait("the question for approval", is_asking)
        time.sleep(READING_SECONDS)

    def final_state(self, dag: str, run: str, seconds: float = 1200) -> str:
        """The run's state when it has ended, its tidying included."""

        def state_if_final() -> str | None:
            state = self.state(dag, run)
            return state if state in ("success", "failed") else None

        return str(self.wait(f"the end of {dag} {run}", state_if_final, seconds))


def send(url: str, method: str, body: Any = None, token: str | None = None) -> tuple[int, str]:
    """Status and text of a request with a JSON body. A machine under load answers late."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, headers=headers, data=data)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    folder = make_airflow_workspace(tmp_path_factory.mktemp("airflow") / "clone")
    launcher = load_launcher()
    port = launcher.free_port()
    log_ports = (launcher.free_port(), launcher.free_port())
    environment = {**clean_environment(), "HF_HUB_OFFLINE": "1", **SETTINGS}
    process = launcher.start(folder, port, log_ports, environment)
    running = Airflow(folder, port)
    log = folder / ".state/airflow/standalone.log"

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        return bool(launcher.is_ready(port))

    try:
        running.wait("Airflow's start", is_ready)
        running.wait("the DAGs", lambda: len(running.get("/api/v2/dags").get("dags", [])) == 3)
        yield running
    finally:
        launcher.stop(process)
        end_processes_below(folder)


def clean_environment() -> dict[str, str]:
    """The environment without what would lead to another Airflow, Weaviate or repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def make_airflow_workspace(folder: Path) -> Path:
    """The small workspace with environments borrowed from this clone."""
    folder.mkdir()
    make_workspace(folder)
    change(folder, QUICK)
    for name in (".venv", ".venv-airflow", ".venv-triton", ".venv-openvino"):
        (folder / name).symlink_to(ROOT / name)
    git(folder, "commit", "-qam", "quick")
    return folder


def git(folder: Path, *words: str) -> str:
    """What a Git command prints, with an author for commits."""
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return process.stdout


def load_launcher() -> Any:
    """infra/airflow.py, which `make airflow` runs."""
    spec = importlib.util.spec_from_file_location("launcher", ROOT / "infra/airflow.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
