"""Airflow on this machine (`make airflow`): standalone, SQLite, LocalExecutor, everything below .state/airflow. Standard library only.

    python3 infra/airflow.py            start, print address and login, stop with Ctrl-C

AIRFLOW_PORT fixes the port of the UI; else it is 8080, or another one where that is taken. Any AIRFLOW__SECTION__KEY of the environment wins over what is set here.
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
START_SECONDS = 180


def settings(root: Path, port: int, log_ports: tuple[int, int]) -> dict[str, str]:
    """Airflow's settings for the clone at `root`. `log_ports`: where scheduler and triggerer serve the logs of tasks that still run."""
    home, address = root / ".state/airflow", f"http://127.0.0.1:{port}"
    kept = _secrets(home)
    return {
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": str(root),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "dags/plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACKS": "False",  # the message alone: it names file, line and remedy
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": kept["fernet_key"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(root)),
        "AIRFLOW__API_AUTH__JWT_SECRET": kept["jwt_secret"],
        "AIRFLOW__API__SECRET_KEY": kept["secret_key"],
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",  # seconds until an edit of params.yaml is in the trigger form
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[0]),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[1]),
    }


def environment(root: Path, port: int, log_ports: tuple[int, int], given: Mapping[str, str]) -> dict[str, str]:
    """`given` with the settings, which it may overrule one by one."""
    chosen = {name: value for name, value in given.items() if name.startswith("AIRFLOW__")}
    search = f"{root / '.venv-airflow/bin'}{os.pathsep}{given.get('PATH', '')}"
    return {**given, **settings(root, port, log_ports), **chosen, "PATH": search, "NO_COLOR": "1"}


def passwords_file(root: Path) -> Path:
    return root / ".state/airflow/passwords.json"


def _secrets(home: Path) -> dict[str, str]:
    """Keys of this clone's Airflow, made once, readable by their owner alone."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = home / "secrets.json"
    if not path.exists():
        made = {"fernet_key": urlsafe_b64encode(secrets.token_bytes(32)).decode(), "jwt_secret": secrets.token_urlsafe(48), "secret_key": secrets.token_urlsafe(48)}
        temporary = path.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(made))
        temporary.rename(path)
    found: dict[str, str] = json.loads(path.read_text())
    return found


def free_port(wanted: int = 0) -> int:
    """`wanted` where it is free, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found: int = probe.getsockname()[1]
            return found
    raise SystemExit("no free port on 127.0.0.1")


def health(port: int) -> dict[str, Any]:
    """What the API server says of itself and the others; empty while it does not answer."""
    with suppress(OSError, ValueError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
    return {}


def is_ready(port: int) -> bool:
    said = health(port)
    return bool(said) and all(said.get(part, {}).get("status") == "healthy" for part in ("scheduler", "dag_processor", "metadatabase"))


def start(root: Path, port: int, log_ports: tuple[int, int], given: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """`airflow standalone` in a process group of its own, its output in .state/airflow/standalone.log."""
    values = environment(root, port, log_ports, given)
    with (root / ".state/airflow/standalone.log").open("wb") as log:
        options = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL, "start_new_session": True}
        return subprocess.Popen([str(root / ".venv-airflow/bin/airflow"), "standalone"], env=values, cwd=root, preexec_fn=_hear_ctrl_c, **options)  # noqa: PLW1509 (one thread)


def _hear_ctrl_c() -> None:
    """A shell's background jobs ignore SIGINT, and so would Airflow, which ends by it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def stop(started: "subprocess.Popen[bytes]") -> None:
    """Ask it to end, as Ctrl-C would; after 20 s end the whole group."""
    for number, patience in ((signal.SIGINT, 20), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with suppress(ProcessLookupError):
            os.kill(started.pid, number) if number == signal.SIGINT else os.killpg(started.pid, number)
        deadline = time.monotonic() + patience
        while _group_lives(started) and time.monotonic() < deadline:
            time.sleep(0.1)
    started.wait()


def _group_lives(started: "subprocess.Popen[bytes]") -> bool:
    started.poll()
    try:
        os.killpg(started.pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> int:
    if not (ROOT / ".venv-airflow/bin/airflow").exists():
        print("Airflow is not installed: make setup", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    port = int(os.environ.get("AIRFLOW_PORT", "0")) or free_port(8080)
    print("Airflow is starting (about half a minute; log: .state/airflow/standalone.log)", flush=True)
    started = start(ROOT, port, (free_port(), free_port()), os.environ)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready(port):
            if started.poll() is not None or time.monotonic() > deadline:
                print(
                    "Airflow did not start. Last lines of .state/airflow/standalone.log:",
                    *(ROOT / ".state/airflow/standalone.log").read_text(errors="replace").splitlines()[-12:],
                    sep="\n  ",
                    file=sys.stderr,
                )
                return 1
            time.sleep(0.5)
        logins = ", ".join(f"{name} / {password}" for name, password in json.loads(passwords_file(ROOT).read_text()).items())
        print(f"Airflow: http://127.0.0.1:{port}   login: {logins}\nCtrl-C stops it", flush=True)
        return started.wait()
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        return 0
    finally:
        stop(started)


if __name__ == "__main__":
    sys.exit(main())
