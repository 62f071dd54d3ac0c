"""Who may do what under the FAB auth manager: a real API server with users of each role."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import access_tables
from tests.dags.conftest import clean_environment, load_launcher, send

ROOT = Path(__file__).parents[2]


class User(NamedTuple):
    """Somebody of a role."""

    name: str
    roles: list[str]


USERS = {
    "Viewer": User("vera", ["Viewer"]),
    "Data scientist": User("dan", ["Viewer", "Data scientist"]),
    "Approver": User("ada", ["Viewer", "Approver"]),
    "Admin": User("rob", ["Admin"]),
}
SECRET = "0123456789abcdef" * 4
MAKE_USERS = """
import sys, json
from airflow.providers.fab.www.app import create_app
app = create_app(enable_plugins=False)
with app.app_context():
    manager = app.appbuilder.sm
    for name, titles in json.loads(sys.argv[1]).items():
        roles = [manager.find_role(title) for title in titles]
        address = f"{name}@example.org"
        assert manager.add_user(name, name, name, address, roles, password=name)
"""
API_SERVER = ["airflow", "api-server", "--host", "127.0.0.1", "--workers", "1"]


def fab_environment(home: Path) -> dict[str, str]:
    manager = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
    return {
        **clean_environment(),
        "PATH": f"{ROOT / '.venv-airflow/bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__AUTH_MANAGER": manager,
        "AIRFLOW__API_AUTH__JWT_SECRET": SECRET,
        "AIRFLOW__API__SECRET_KEY": SECRET,
    }


def prepare(home: Path) -> None:
    """Database, DAGs, roles and users."""
    for command in (
        ["airflow", "db", "migrate"],
        ["airflow", "dags", "reserialize"],
        [str(ROOT / "infra/roles")],
        ["python", "-c", MAKE_USERS, json.dumps(dict(USERS.values()))],
    ):
        process = subprocess.run(
            command,
            env=fab_environment(home),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]


@pytest.fixture(scope="module")
def status(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., int]]:
    """The status of a request to a real API server by one of the users."""
    home = tmp_path_factory.mktemp("fab")
    launcher = load_launcher()
    port = launcher.free_port()
    prepare(home)
    log_file = home / "server.log"
    with log_file.open("wb") as log:
        server = subprocess.Popen(
            [*API_SERVER, "--port", str(port)],
            env=fab_environment(home),
            cwd=home,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    tokens: dict[str, str] = {}

    def ask(user: str, method: str, path: str, body: Any = None) -> int:
        address = f"http://127.0.0.1:{port}"
        if user not in tokens:
            login = {"username": user, "password": user}
            _, answer = send(f"{address}/auth/token", "POST", login)
            tokens[user] = json.loads(answer)["access_token"]
        return send(f"{address}{path}", method, body, tokens[user])[0]

    try:
        deadline = time.monotonic() + 120
        while not launcher.health(port):
            assert server.poll() is None, log_file.read_text()[-2000:]
            assert time.monotonic() < deadline, log_file.read_text()[-2000:]
            time.sleep(0.5)
        yield ask
    finally:
        launcher.stop(server)


def test_each_role_may_do_what_the_handbook_says_and_no_more(status: Callable[..., int]) -> None:
    runs = "/api/v2/dags/train/dagRuns"
    start: dict[str, Any] = {"logical_date": None, "conf": {}}
    approval = {"chosen_options": ["Approve"], "params_input": {}}
    requests: dict[str, tuple[str, str, Any]] = {
        "see runs and their tasks": ("GET", f"{runs}/~/taskInstances", None),
        "start a run": ("POST", runs, start),
        "run tasks again": ("POST", "/api/v2/dags/train/clearTaskInstances", {"dry_run": True}),
        "approve or refuse a release": (
            *("PATCH", f"{runs}/one/taskInstances/approve/-1/hitlDetails"),
            approval,
        ),
        "switch a DAG on and off": ("PATCH", "/api/v2/dags/train", {"is_paused": True}),
        "delete a run": ("DELETE", f"{runs}/none", None),
        "see connections with their passwords' names": ("GET", "/api/v2/connections", None),
        "write variables": ("POST", "/api/v2/variables", {"key": "colour", "value": "red"}),
        "see Airflow's own settings (hidden from everybody)": ("GET", "/api/v2/config", None),
    }
    assert status("rob", "POST", runs, {**start, "dag_run_id": "one"}) == 200
    table = access_tables.read("In Airflow")
    assert table.keys() == requests.keys()
    for action, cells in table.items():
        assert cells.keys() == USERS.keys()
        for title, is_allowed in cells.items():
            answer = status(USERS[title].name, *requests[action])
            assert (answer != 403) == is_allowed, f"{action}: {title} got {answer}"
            # A run that has asked nothing cannot be decided, nor can one be deleted that is not
            # there: who may do so is told that.
            assert answer < 500, f"{action}: {title} got {answer}"
