"""Runs a server for as long as any process of this clone uses it.

    python -m pipelines.system.keeper FOLDER COMMAND ...

A user holds a shared lock on `FOLDER/users.lock`. The keeper holds `FOLDER/server.lock` while its
command runs, and ends the command once it gets the users' lock for itself, that is, once nobody
holds it. The kernel drops the lock of a killed process, so no user can be forgotten.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipelines.system import locks, processes

USERS_LOCK = "users.lock"
SERVER_LOCK = "server.lock"
SECONDS_BETWEEN_LOOKS = 0.3
ROOT = Path(__file__).parents[2]


def start(
    folder: Path, command: list[str], environment: dict[str, str], log: Path
) -> "subprocess.Popen[bytes]":
    """Start a keeper that outlives this process. It and its server write to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.system.keeper", str(folder), *command],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def is_running(folder: Path) -> bool:
    """Whether a keeper runs the folder's server, be it ready or not."""
    return locks.is_held(folder / SERVER_LOCK)


def keep(folder: Path, command: list[str]) -> int:
    """Run the command until nobody uses it, or until it ends by itself; returns its exit code."""
    with locks.exclusive(folder / SERVER_LOCK):
        # One thread runs here, so that `preexec_fn` is safe.
        server = subprocess.Popen(command, preexec_fn=processes.end_with_parent)  # noqa: PLW1509
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        while server.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            with locks.exclusive_if_free(folder / USERS_LOCK) as is_unused:
                if is_unused:
                    # A new user waits for this lock, and so for the end of this server, before it
                    # starts another one.
                    server.terminate()
                    return server.wait()
        return server.wait()


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]), sys.argv[2:]))
