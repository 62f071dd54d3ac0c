"""Airflow on this machine (`make airflow`): standalone, SQLite, LocalExecutor.

    python3 infra/airflow.py            start, print address and login, stop with Ctrl-C

Standard library only; everything is kept below .state/airflow. AIRFLOW_PORT fixes the port of the
UI; otherwise it is 8080, or any free port if that is taken. An AIRFLOW__SECTION__KEY of the
environment overrides what is set here.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOG = ".state/airflow/standalone.log"
START_SECONDS = 180
UI_PORT = 8080
NUM_LOG_LINES = 12  # shown if Airflow does not start
# How Airflow is asked to end, and the seconds that it gets: as by Ctrl-C, then as a whole group.
STOP_SIGNALS = ((signal.SIGINT, 20), (signal.SIGTERM, 5), (signal.SIGKILL, 5))
SERVICES = ("scheduler", "dag_processor", "metadatabase")


def settings(root: Path, port: int, log_ports: tuple[int, int]) -> dict[str, str]:
    """Airflow's settings for the clone at `root`.

    On `log_ports` scheduler and triggerer serve the logs of tasks that still run.
    """
    home = root / ".state/airflow"
    address = f"http://127.0.0.1:{port}"
    keys = _load_keys(home)
    return {
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": str(root),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "dags/plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # The message of an import error is enough: it names file, line and remedy.
        "AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACKS": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": keys["fernet_key"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(root)),
        "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt_secret"],
        "AIRFLOW__API__SECRET_KEY": keys["secret_key"],
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        # Seconds until an edit of params.yaml is in the trigger form.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[0]),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[1]),
    }


def environment(
    root: Path, port: int, log_ports: tuple[int, int], variables: Mapping[str, str]
) -> dict[str, str]:
    """`variables` with the settings, each of which they may override."""
    overrides = {name: value for name, value in variables.items() if name.startswith("AIRFLOW__")}
    search_path = f"{root / '.venv-airflow/bin'}{os.pathsep}{variables.get('PATH', '')}"
    return {
        **variables,
        **settings(root, port, log_ports),
        **overrides,
        "PATH": search_path,
        "NO_COLOR": "1",
    }


def passwords_file(root: Path) -> Path:
    return root / ".state/airflow/passwords.json"


def _load_keys(home: Path) -> dict[str, str]:
    """Keys of this clone's Airflow, made once, readable only by their owner."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = home / "secrets.json"
    if not path.exists():
        new_keys = {
            "fernet_key": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt_secret": secrets.token_urlsafe(48),
            "secret_key": secrets.token_urlsafe(48),
        }
        temporary = path.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(new_keys))
        temporary.rename(path)
    keys: dict[str, str] = json.loads(path.read_text())
    return keys


def free_port(first_choice: int = 0) -> int:
    """`first_choice` if it is free, else any free port."""
    for port in (first_choice, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise SystemExit("no free port on 127.0.0.1")


def health(port: int) -> dict[str, Any]:
    """The API server's report on itself and the other services; empty if it does not answer."""
    url = f"http://127.0.0.1:{port}/api/v2/monitor/health"
    with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=5) as answer:
        report: dict[str, Any] = json.load(answer)
        return report
    return {}


def is_ready(port: int) -> bool:
    report = health(port)
    return all(report.get(service, {}).get("status") == "healthy" for service in SERVICES)


def start(
    root: Path, port: int, log_ports: tuple[int, int], variables: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """`airflow standalone` in a process group of its own, its output in a log."""
    values = environment(root, port, log_ports, variables)
    with (root / LOG).open("wb") as log:
        return subprocess.Popen(
            [str(root / ".venv-airflow/bin/airflow"), "standalone"],
            env=values,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_accept_interrupts,  # noqa: PLW1509 (there is one thread)
        )


def _accept_interrupts() -> None:
    """A shell's background jobs ignore SIGINT, and so would Airflow, which ends by it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask Airflow to end, as Ctrl-C would; after 20 s end its whole process group."""
    for number, seconds in STOP_SIGNALS:
        with suppress(ProcessLookupError):
            if number == signal.SIGINT:
                os.kill(process.pid, number)
            else:
                os.killpg(process.pid, number)
        deadline = time.monotonic() + seconds
        while _has_group(process) and time.monotonic() < deadline:
            time.sleep(0.1)
    process.wait()


def _has_group(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a process of its group still runs."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_ready(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Whether Airflow became ready in time."""
    deadline = time.monotonic() + START_SECONDS
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def print_failure() -> None:
    lines = (ROOT / LOG).read_text(errors="replace").splitlines()[-NUM_LOG_LINES:]
    heading = f"Airflow did not start. Last lines of {LOG}:"
    print(heading, *lines, sep="\n  ", file=sys.stderr)


def print_address(port: int) -> None:
    passwords = json.loads(passwords_file(ROOT).read_text())
    logins = ", ".join(f"{name} / {password}" for name, password in passwords.items())
    print(f"Airflow: http://127.0.0.1:{port}   login: {logins}\nCtrl-C stops it", flush=True)


def main() -> int:
    if not (ROOT / ".venv-airflow/bin/airflow").exists():
        print("Airflow is not installed: make setup", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    port = int(os.environ.get("AIRFLOW_PORT", "0")) or free_port(UI_PORT)
    print(f"Airflow is starting (about half a minute; log: {LOG})", flush=True)
    process = start(ROOT, port, (free_port(), free_port()), os.environ)
    try:
        if not wait_until_ready(process, port):
            print_failure()
            return 1
        print_address(port)
        return process.wait()
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        return 0
    finally:
        stop(process)


if __name__ == "__main__":
    sys.exit(main())
