import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.system import keeper, locks

WRITE_AND_SLEEP = "import os, time; print(os.environ['NAME'], flush=True); time.sleep(60)"


def wait_until(condition: Callable[[], bool], limit: float = 10) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit} s"
        time.sleep(0.05)


def test_a_server_runs_while_it_is_used_and_ends_afterwards(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    command = [sys.executable, "-c", WRITE_AND_SLEEP]
    assert not keeper.is_running(tmp_path)
    with locks.shared(tmp_path / keeper.USERS_LOCK):
        process = keeper.start(tmp_path, command, {"NAME": "from the environment"}, log)
        wait_until(lambda: "from the environment" in log.read_text())
        time.sleep(1)  # the keeper looks three times a second
        assert keeper.is_running(tmp_path)
        assert process.poll() is None
    assert process.wait(timeout=10) == 256 - signal.SIGTERM
    assert not keeper.is_running(tmp_path)


def test_a_server_that_ends_by_itself_ends_its_keeper_with_its_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with locks.shared(tmp_path / keeper.USERS_LOCK):
        process = keeper.start(tmp_path, command, {}, tmp_path / "server.log")
        assert process.wait(timeout=10) == 3


def test_a_keeper_that_is_asked_to_end_ends_its_server(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    command = [sys.executable, "-c", WRITE_AND_SLEEP]
    with locks.shared(tmp_path / keeper.USERS_LOCK):
        process = keeper.start(tmp_path, command, {"NAME": "up"}, log)
        wait_until(lambda: "up" in log.read_text())
        process.terminate()
        process.wait(timeout=10)
        assert not keeper.is_running(tmp_path)
