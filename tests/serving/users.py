"""Users who ask while a release is under way, and what is done to their server."""

import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.errors import UserError
from pipelines.serving import client, live
from pipelines.serving.server import Triton

NUM_QUESTIONS = 40


def questions() -> list[str]:
    """What users ask, in turn."""
    return [f"What can you tell about number {number}?" for number in range(NUM_QUESTIONS)]


class Traffic:
    """What users saw while a release was under way."""

    def __init__(self) -> None:
        self.releases: list[str] = []
        self.errors: list[str] = []


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Users who ask until the block ends."""
    seen, ended = Traffic(), threading.Event()

    def ask() -> None:
        for question in itertools.cycle(questions()):
            if ended.is_set():
                return
            try:
                seen.releases.append(client.ask(question, seconds=60).release_id)
            except UserError as error:  # no server, or no answer
                seen.errors.append(str(error))
                time.sleep(0.2)

    users = [threading.Thread(target=ask) for _ in range(3)]
    for user in users:
        user.start()
    try:
        yield seen
    finally:
        ended.set()
        for user in users:
            user.join()


def kill_server(triton: Triton) -> None:
    """SIGKILL for the live tritonserver, which is a child of `serve`."""
    pid = next(int(line) for line in subprocess.run(["pgrep", "-f", f"tritonserver.*--grpc-port={triton.grpc_port}"], capture_output=True, text=True).stdout.split())
    os.kill(pid, signal.SIGKILL)


def settled(release_id: str) -> None:
    """The routes are this release's alone, at the latest a few seconds after a kill."""
    deadline = time.monotonic() + 60
    while live.routes() != ([(release_id, 1.0)], None):
        assert time.monotonic() < deadline, live.routes()
        time.sleep(0.1)
