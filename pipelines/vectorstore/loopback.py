"""Knows how to keep a program's ports on this machine where the program has no setting for it.

On Linux a filter hands each `bind` of the program to its parent (seccomp_unotify(2), Linux 5.9 or later, no privilege needed), which binds the
program's socket in its stead: to 127.0.0.1 where the program asked for every interface, else to what it asked for.
"""

import ctypes
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

LOOPBACK = socket.inet_aton("127.0.0.1")
# linux/audit.h: the processor's number; its system calls bind and seccomp (pidfd_open and pidfd_getfd have the same number on both).
PROCESSORS = {"x86_64": (0xC000003E, 49, 317), "aarch64": (0xC00000B7, 200, 277)}
PIDFD_OPEN, PIDFD_GETFD = 434, 438
# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h.
NO_NEW_PRIVILEGES, SET_FILTER, NEW_LISTENER = 38, 1, 8
RECEIVE, RESPOND, AS_ASKED = 0xC0502100, 0xC0182101, 1
LOAD, UNLESS_EQUAL, RETURN, ALLOWED, NOTIFIED = 0x20, 0x15, 0x06, 0x7FFF0000, 0x7FC00000
NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, thread, flags, call, processor, instruction, the call's six arguments
RESPONSE = struct.Struct("=QqiI")  # id, value, error, flags


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


def started(command: list[str], environment: dict[str, str], before: Callable[[], None]) -> "subprocess.Popen[bytes]":
    """The program with its ports on 127.0.0.1; `before` runs in its process. Where the system has no such filter its ports stay as they are, which is said on standard error."""
    here, there = socket.socketpair()

    def prepare() -> None:
        before()
        try:
            socket.send_fds(there, [b"filtered"], [_filtered()])
        except OSError as error:
            there.send(str(error).encode())

    with here, there:
        program = subprocess.Popen(command, env=environment, preexec_fn=prepare)  # noqa: PLW1509 (one thread)
        said, listeners, _, _ = socket.recv_fds(here, 1024, 1)
    if listeners:
        threading.Thread(target=_answer, args=(listeners[0],), name="loopback", daemon=True).start()
    else:
        print(f"ports without a setting for their address listen on every interface: {said.decode()}", file=sys.stderr, flush=True)
    return program


def _filtered() -> int:
    """Install the filter in this process; the descriptor by which its `bind` calls are received. Raises OSError where the system has none."""
    if sys.platform != "linux" or platform.machine() not in PROCESSORS:
        raise OSError(f"no filter for {sys.platform} on {platform.machine()}")
    processor, bind, seccomp = PROCESSORS[platform.machine()]
    steps = [(LOAD, 0, 0, 4), (UNLESS_EQUAL, 0, 3, processor), (LOAD, 0, 0, 0), (UNLESS_EQUAL, 0, 1, bind), (RETURN, 0, 0, NOTIFIED), (RETURN, 0, 0, ALLOWED)]
    _called(ctypes.CDLL(None, use_errno=True).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    return _system_call(seccomp, SET_FILTER, NEW_LISTENER, ctypes.byref(_Filter(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))))


def _answer(listener: int) -> None:
    """Bind what the program asks for, until it and its children have ended."""
    ends = select.poll()
    ends.register(listener, select.POLLIN)
    while ends.poll()[0][1] & select.POLLIN:
        asked = bytearray(NOTIFICATION.size)
        with suppress(FileNotFoundError):  # the program was killed meanwhile
            ioctl(listener, RECEIVE, asked)
            number, thread, _, _, _, _, descriptor, address, length, *_ = NOTIFICATION.unpack(asked)
            ioctl(listener, RESPOND, RESPONSE.pack(number, 0, *_bound(thread, descriptor, address, length)))
    os.close(listener)


def _bound(thread: int, descriptor: int, address: int, length: int) -> tuple[int, int]:
    """Bind a socket of another process; (error, flags) of the response. Where that process may not be reached, the call goes on as it was asked."""
    try:
        process = next(int(line.split()[1]) for line in Path(f"/proc/{thread}/status").read_text().splitlines() if line.startswith("Tgid:"))
        with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            wanted = narrowed(memory.read(min(length, 128)))
        handle = _system_call(PIDFD_OPEN, process, 0)
        try:
            copy = _system_call(PIDFD_GETFD, handle, descriptor, 0)
        finally:
            os.close(handle)
    except OSError as error:
        print(f"a port listens where the program asked for: its process cannot be reached: {error}", file=sys.stderr, flush=True)
        return 0, AS_ASKED
    try:
        _called(ctypes.CDLL(None, use_errno=True).bind(copy, wanted, len(wanted)))
    except OSError as error:
        return -(error.errno or 0), 0
    finally:
        os.close(copy)
    return 0, 0


def narrowed(address: bytes) -> bytes:
    """A `sockaddr` with 127.0.0.1 in place of every interface; a socket for both kinds of addresses gets it as ::ffff:127.0.0.1."""
    family = int.from_bytes(address[:2], sys.byteorder)
    if family == socket.AF_INET and address[4:8] == bytes(4):
        return address[:4] + LOOPBACK + address[8:]
    if family == socket.AF_INET6 and address[8:24] == bytes(16):
        return address[:8] + bytes(10) + b"\xff\xff" + LOOPBACK + address[24:]
    return address


def _system_call(*arguments: object) -> int:
    return _called(ctypes.CDLL(None, use_errno=True).syscall(*arguments))


def _called(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
