"""Who may do what under the FAB auth manager: a real API server with users of each role."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import launcher

ROOT = Path(__file__).parents[2]
USERS = {"vera": ["Viewer"], "dan": ["Viewer", "Data scientist"], "ada": ["Viewer", "Approver"]}
SECRET = "0123456789abcdef" * 4
MAKE_USERS = """
import sys, json
from airflow.providers.fab.www.app import create_app
app = create_app(enable_plugins=False)
with app.app_context():
    manager = app.appbuilder.sm
    for name, roles in json.loads(sys.argv[1]).items():
        assert manager.add_user(name, name, name, f"{name}@example.org", [manager.find_role(role) for role in roles], password=name)
"""


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., int]]:
    """The status of a request to a real API server by one of the users."""
    home, started = tmp_path_factory.mktemp("fab"), launcher()
    port = started.free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))},
        "PATH": f"{ROOT / '.venv-airflow/bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager", "AIRFLOW__API_AUTH__JWT_SECRET": SECRET, "AIRFLOW__API__SECRET_KEY": SECRET,
    }  # fmt: skip

    def do(*command: str) -> None:
        done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    do("airflow", "db", "migrate")
    do("airflow", "dags", "reserialize")
    do(str(ROOT / "infra/roles"))
    do("python", "-c", MAKE_USERS, json.dumps(USERS))
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(["airflow", "api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"], env=environment, cwd=home, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not started.health(port):
            assert server.poll() is None, (home / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (home / "server.log").read_text()[-2000:]
            time.sleep(0.5)
        tokens: dict[str, str] = {}

        def ask(user: str, method: str, path: str, body: Any = None) -> int:
            if user not in tokens:
                tokens[user] = json.loads(request(port, "POST", "/auth/token", {"username": user, "password": user})[1])["access_token"]
            return request(port, method, path, body, tokens[user])[0]

        yield ask
    finally:
        started.stop(server)


def request(port: int, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers, data=None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_everybody_sees_runs_data_scientists_start_them_approvers_decide(status: Callable[..., int]) -> None:
    runs, decision = "/api/v2/dags/train/dagRuns", "/api/v2/dags/train/dagRuns/one/taskInstances/approve/-1/hitlDetails"
    start: dict[str, Any] = {"logical_date": None, "conf": {}, "dag_run_id": "one"}

    assert {user: status(user, "GET", runs) for user in USERS} == dict.fromkeys(USERS, 200)
    assert {user: status(user, "POST", runs, start) for user in USERS} == {"vera": 403, "dan": 200, "ada": 403}
    # The run has asked nothing yet, so whoever may decide is told that there is nothing to decide.
    assert {user: status(user, "PATCH", decision, {"chosen_options": ["Approve"], "params_input": {}}) for user in USERS} == {"vera": 403, "dan": 403, "ada": 404}
    assert {user: status(user, "GET", "/api/v2/connections") for user in USERS} == dict.fromkeys(USERS, 403)
