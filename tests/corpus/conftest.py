"""Servers that documents are fetched from, snapshots, and the memory that readers take."""

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines import files
from pipelines.contracts.fetched import FETCHED
from pipelines.corpus.snapshots import snapshot_path

Contents = Callable[[str], dict[str, Any]]


class Answer(NamedTuple):
    """What the server says at a path that is no file."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class WebServer:
    """A real HTTP server on a folder."""

    folder: Path
    url: str = ""
    requests: list[tuple[str, int]] = field(default_factory=list)  # (path, status) in their order
    answers: dict[str, Answer] = field(default_factory=dict)  # by path, before the files


class Handler(SimpleHTTPRequestHandler):
    """Serves files and honors If-Modified-Since; two paths redirect and refuse."""

    def __init__(self, *arguments: Any, site: WebServer):
        self._site = site
        super().__init__(*arguments, directory=str(site.folder))

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        self._site.requests.append((self.path, int(code)))

    def do_GET(self) -> None:
        answer = self._site.answers.get(self.path)
        if answer is not None:
            self._send(answer)
        elif self.path == "/docs/moved.html":
            self.send_response(302)
            self.send_header("Location", "/docs/b.html")
            self.end_headers()
        elif self.path == "/docs/locked.md":
            self.send_error(403)
        else:
            super().do_GET()

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has read enough
            self.wfile.write(answer.body)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WebServer]:
    """A web server on the empty folder `docs`."""
    server = WebServer(tmp_path / "site")
    (server.folder / "docs").mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site=server)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{http.server_port}"
        yield server
        http.shutdown()


@pytest.fixture
def contents() -> Contents:
    """Gives uri -> content, or its problem, of a source's snapshot."""

    def read(name: str) -> dict[str, Any]:
        rows = files.read(snapshot_path(name), FETCHED)
        return {row["uri"]: row["problem"] or row["content"] for row in rows}

    return read


@contextmanager
def run_server(command: list[str], port: int, **environment: str) -> Iterator[None]:
    """A server on the port, from its first answer to the end of the block."""
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    ) as server:
        try:
            wait_for_answer(server, port)
            yield
        finally:
            server.terminate()


def wait_for_answer(server: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, f"the server ended with {server.returncode}"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)


@contextmanager
def watch_readers() -> Iterator[list[int]]:
    """Peak resident memory of ingest's readers in MiB, looked at every 20 ms."""
    peaks = [0]
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.02):
            for status in Path("/proc").glob("[0-9]*/status"):
                with suppress(OSError):  # the process has ended meanwhile
                    peaks.append(peak_of_reader(status.read_text()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peaks
    finally:
        is_over.set()
        thread.join()


def peak_of_reader(status: str) -> int:
    """MiB, from /proc/PID/status; 0 for a process that is not a child of the fork server."""
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # private
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    is_reader = f"PPid:\t{server}\n" in status
    return int(peak[1]) >> 10 if peak and is_reader else 0
