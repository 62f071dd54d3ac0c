"""A real PostgreSQL and a real Redis for a test, on free ports; and the clock that limits obey."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.system import processes

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
REDIS = shutil.which("redis-server")
MINUTE_SECONDS = 60
SECONDS_OF_REQUESTS = 15  # of a few, on a busy machine


def wait_for_room_in_minute() -> None:
    """Wait for the clock's next minute if this one ends soon.

    Limits count by it: what was used before it began weighs a little less with each second.
    """
    seconds_left = MINUTE_SECONDS - time.time() % MINUTE_SECONDS
    if seconds_left < SECONDS_OF_REQUESTS:
        time.sleep(seconds_left)


@contextmanager
def run_postgres() -> Iterator[str]:
    """Gives its URL. PostgreSQL does not run as root, so it gets a folder of its own user."""
    (port,) = processes.free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
    as_user: list[str] = []
    if folder.owner() == "root":
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    data = ["-D", str(folder / "data")]
    initdb = [*as_user, str(POSTGRES[-1] / "initdb"), *data, "-U", "ada", "--auth=trust"]
    control = [*as_user, str(POSTGRES[-1] / "pg_ctl"), *data, "-w"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    try:
        subprocess.run([*initdb, "--no-sync"], check=True, capture_output=True)
        start = [*control, "-o", options, "-l", str(folder / "log"), "start"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql+psycopg://ada@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
    finally:
        shutil.rmtree(folder)


@contextmanager
def run_redis() -> Iterator[str]:
    """Gives its URL."""
    (port,) = processes.free_ports(1)
    assert REDIS is not None
    process = subprocess.Popen(
        [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while processes.is_free(port):
            assert time.monotonic() < deadline, "Redis does not listen"
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
