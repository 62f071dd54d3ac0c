"""Child processes and free ports."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

FIRST_PORT, LAST_PORT = 30001, 32700  # below the range from which Linux takes outgoing ports
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Different ports on which nothing listens at this moment."""
    ports: set[int] = set()
    while len(ports) < count:
        port = FIRST_PORT + int.from_bytes(os.urandom(2)) % (LAST_PORT - FIRST_PORT)
        if is_free(port, host):
            ports.add(port)
    return list(ports)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def end_with_parent() -> None:
    """For `preexec_fn`: Linux ends the child when its parent is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def erase_argument(pid: int, text: str) -> None:
    """Overwrite a text in the command line of a child, which `ps` shows to every user.

    Raises OSError if the system does not allow it. A child that has ended has no command line.
    """
    process = Path("/proc") / str(pid)
    with suppress(ProcessLookupError), (process / "mem").open("r+b", buffering=0) as memory:
        start, end = _argument_span(process)
        memory.seek(start)
        arguments = memory.read(end - start)
        memory.seek(start)
        memory.write(arguments.replace(text.encode(), b"*" * len(text.encode())))


def _argument_span(process: Path) -> tuple[int, int]:
    """Where the arguments begin and end in the process's memory: fields 48 and 49 of proc(5)."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()  # from the third on
    return int(fields[48 - 3]), int(fields[49 - 3])


def stop_group(process: "subprocess.Popen[bytes]", grace_seconds: float = 30.0) -> None:
    """End a process that leads its own group, and its children: SIGTERM, after a grace SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
            return
