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
from pipelines.serving import client, live_routes
from pipelines.serving.triton_connection import Triton

NUM_QUESTIONS = 40
NUM_USERS = 3


def questions() -> list[str]:
    """What users ask, in turn."""
    return [f"What can you tell about number {number}?" for number in range(NUM_QUESTIONS)]


class Traffic:
    """What users got while a release was under way."""

    def __init__(self) -> None:
        self.releases: list[str] = []
        self.errors: list[str] = []

    def ask_until(self, end: threading.Event) -> None:
        for question in itertools.cycle(questions()):
            if end.is_set():
                return
            try:
                self.releases.append(client.ask(question).release_id)
            except UserError as error:  # no server, or no answer
                self.errors.append(str(error))
                time.sleep(0.2)


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Users who ask until the block ends."""
    answers = Traffic()
    end = threading.Event()
    users = [threading.Thread(target=answers.ask_until, args=(end,)) for _ in range(NUM_USERS)]
    for user in users:
        user.start()
    try:
        yield answers
    finally:
        end.set()
        for user in users:
            user.join()


def kill_server(triton: Triton) -> None:
    """SIGKILL for the live tritonserver, which is a child of `serve`."""
    pattern = f"tritonserver.*--grpc-port={triton.grpc_port}"
    pids = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True).stdout
    os.kill(int(pids.split()[0]), signal.SIGKILL)


def wait_for_sole_route(release_id: str) -> None:
    """Until this release answers everything, at the latest a few seconds after a kill."""
    deadline = time.monotonic() + 60
    while live_routes.read() != ([(release_id, 1.0)], None):
        assert time.monotonic() < deadline, live_routes.read()
        time.sleep(0.1)
