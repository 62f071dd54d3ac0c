"""Airflow as the demo sees it: its REST API. Standard library only."""

import json
import urllib.request
from typing import Any

from demo_clone import CLONE

FINAL_STATES = ("success", "failed")


class Api:
    """Airflow's REST API, used as any client would."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        passwords = json.loads((CLONE / ".state/airflow/passwords.json").read_text())
        self.login = ", ".join(f"{name} / {password}" for name, password in passwords.items())
        self._token = ""
        name, password = next(iter(passwords.items()))
        answer = self._send("POST", "/auth/token", {"username": name, "password": password})
        self._token = answer["access_token"]

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 (always http)
            f"{self.address}{path}", method=method, headers=headers, data=data
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def num_dags(self) -> int:
        return len(self._send("GET", "/api/v2/dags")["dags"])

    def unpause(self, dag: str) -> None:
        self._send("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def run_ids(self, dag: str) -> list[str]:
        answer = self._send("GET", f"/api/v2/dags/{dag}/dagRuns")
        return [run["dag_run_id"] for run in answer["dag_runs"]]

    def final_state(self, dag: str, run_id: str) -> str | None:
        """The run's state when it has ended; None before."""
        state = str(self._send("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}")["state"])
        return state if state in FINAL_STATES else None

    def task_states(self, dag: str, run_id: str) -> dict[str, str]:
        """Task -> state, in the order in which they ended."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances?limit=100"
        tasks = self._send("GET", path)["task_instances"]
        tasks.sort(key=lambda task: str(task["end_date"]))
        return {task["task_id"]: task["state"] for task in tasks}
