import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipelines.vectorstore import loopback

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such filter")
# Listens on the port of the first word and the address of the second, says where, and stays.
SERVER = """
import socket, sys, time
kind = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
with socket.socket(kind) as server:
    try:
        server.bind((sys.argv[2], int(sys.argv[1])))
    except OSError as error:
        print(error.errno, flush=True)
        raise SystemExit from None
    server.listen()
    print(server.getsockname()[0], flush=True)
    time.sleep(60)
"""


@contextmanager
def said(address: str, port: int) -> Iterator[str]:
    """The first line of the server, which runs until the block ends."""
    read, write = os.pipe()
    keep = os.dup(1)
    os.dup2(write, 1)
    try:
        program = loopback.started([sys.executable, "-c", SERVER, str(port), address], dict(os.environ), lambda: None)
    finally:
        os.dup2(keep, 1)
        os.close(keep)
        os.close(write)
    with os.fdopen(read) as lines:
        yield lines.readline().strip()
        program.send_signal(signal.SIGKILL)
        program.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(("asked", "got"), [("0.0.0.0", "127.0.0.1"), ("::", "::ffff:127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")])
def test_a_program_that_asks_for_every_interface_gets_this_machine_alone_and_another_address_stays(asked: str, got: str) -> None:
    port = free_port()
    with said(asked, port) as address:
        assert address == got
        socket.create_connection(("127.0.0.1" if asked != "127.0.0.2" else asked, port), timeout=5).close()


def test_a_port_that_is_taken_is_refused_as_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, said("0.0.0.0", taken.getsockname()[1]) as answer:
        assert answer == "98"  # EADDRINUSE


def test_where_there_is_no_filter_the_program_starts_and_it_is_said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(loopback, "PROCESSORS", {})
    program = loopback.started([sys.executable, "-c", "pass"], dict(os.environ), lambda: None)
    assert program.wait() == 0
    assert "listen on every interface: no filter for linux" in capfd.readouterr().err
