"""Runs a real Triton server as a child process, on loopback and free ports, in explicit mode.

Whoever can load a model runs code as this user, so each server has a random control key. Triton
takes it on its command line alone, which every user of the machine can read: it is erased there
as soon as Triton has read it.
"""

import contextlib
import dataclasses
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipelines.errors import UserError
from pipelines.serving import triton_installation
from pipelines.serving.triton_connection import (
    CONTROL_APIS,
    CONTROL_HEADER,
    MARK,
    Triton,
    server_processes,
)
from pipelines.system import processes

START_SECONDS = 240
STOP_SECONDS = 20
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where the Python backend keeps its regions)


@dataclass(frozen=True)
class Launch:
    """How to start a server. `is_patient`: it finishes what it works on before it stops."""

    repository: Path
    models: list[str]  # loaded from the start, in this order
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    is_patient: bool = True


@contextmanager
def run(launch: Launch) -> Iterator[Triton]:
    """A server with these models loaded, stopped when the block ends.

    Raises UserError with the server's own last message.
    """
    triton = start(launch)
    try:
        yield triton
    finally:
        stop(triton, is_patient=launch.is_patient)


def start(launch: Launch) -> Triton:
    """Start a server and wait until it and the models are ready."""
    program = triton_installation.program()
    http_port, grpc_port, metrics_port = processes.free_ports(3)
    mark = f"assistant-{os.getpid()}-{secrets.token_hex(4)}-"
    key = secrets.token_urlsafe(32)
    triton = Triton(
        *(http_port, grpc_port, metrics_port, launch.log), None, mark=mark, control_key=key
    )
    environment = triton_installation.environment(
        {"ASSISTANT_GRPC": f"{triton.host}:{grpc_port}", MARK: mark, **launch.environment}
    )
    launch.log.parent.mkdir(parents=True, exist_ok=True)
    sweep_shared_memory()
    with launch.log.open("ab") as log:
        log_size = log.tell()
        process = subprocess.Popen(
            [str(program), *_options(launch, triton)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
            preexec_fn=processes.end_with_parent,  # noqa: PLW1509
        )
    triton = dataclasses.replace(triton, process=process)
    try:
        _erase_key(triton, log_size)
        _wait_until_ready(triton)
    except BaseException:
        stop(triton)
        raise
    return triton


def stop(triton: Triton, *, is_patient: bool = True) -> None:
    """Let the server finish what it works on, then end it and its model processes."""
    process = triton.process
    assert process is not None, "only the owner stops a server"
    if process.poll() is None and is_patient:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS + 10)
    process.kill()
    process.wait()
    for orphan in server_processes(triton.mark):  # a killed server leaves its model processes
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.kill()
    sweep_shared_memory(triton.mark)


def sweep_shared_memory(mark: str = "") -> None:
    """Remove this user's regions of ended starters, and those of the server with this mark.

    A killed server cannot remove its own.
    """
    for region in SHARED_MEMORY.glob("assistant-*-*"):
        starter = region.name.split("-")[1]
        is_orphan = starter.isdigit() and not psutil.pid_exists(int(starter))
        is_of_mark = bool(mark) and region.name.startswith(mark)
        if is_orphan or is_of_mark:
            with contextlib.suppress(FileNotFoundError):  # another process sweeps too
                if region.stat().st_uid == os.geteuid():
                    region.unlink()


def _options(launch: Launch, triton: Triton) -> list[str]:
    exit_seconds = STOP_SECONDS if launch.is_patient else 1
    options = {
        "model-repository": launch.repository,
        "backend-directory": triton_installation.home() / "backends",
        "backend-config": f"python,shm-region-prefix-name={triton.mark}",
        "model-control-mode": "explicit",
        "exit-timeout-secs": exit_seconds,
        "exit-on-error": "true",
        "log-verbose": 0,
        "allow-gpu-metrics": "true",
        "allow-vertex-ai": "false",
        "http-address": triton.host,
        "http-port": triton.http_port,
        "grpc-address": triton.host,
        "grpc-port": triton.grpc_port,
        "metrics-address": triton.host,
        "metrics-port": triton.metrics_port,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    apis = ",".join(CONTROL_APIS)
    words += [
        f"--http-restricted-api={apis}:{CONTROL_HEADER}={triton.control_key}",
        f"--grpc-restricted-protocol={apis}:{CONTROL_HEADER}={triton.control_key}",
    ]
    return words + [f"--load-model={model}" for model in launch.models]


def _erase_key(triton: Triton, log_size: int) -> None:
    """Erase the control key from the server's command line.

    Its first line in the log says that it has read all of it.
    """
    assert triton.process is not None
    deadline = time.monotonic() + START_SECONDS
    while triton.log.stat().st_size == log_size:
        if triton.has_ended() or time.monotonic() > deadline:
            raise _failure(triton, "tritonserver wrote nothing to its log")
        time.sleep(0.01)
    try:
        processes.erase_argument(triton.process.pid, triton.control_key)
    except PermissionError as error:
        raise UserError(
            f"the control key cannot be erased from Triton's command line ({error}), where every "
            "user of this machine could read it. Remedy: allow a process to trace its children "
            "(/proc/sys/kernel/yama/ptrace_scope is 0 or 1)"
        ) from error


def _wait_until_ready(triton: Triton) -> None:
    assert triton.process is not None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if triton.has_ended():
            raise _failure(triton, f"tritonserver ended with {triton.process.returncode}")
        if triton.is_ready():
            return
        time.sleep(0.1)
    raise _failure(triton, f"tritonserver was not ready within {START_SECONDS} s")


def _failure(triton: Triton, problem: str) -> UserError:
    return UserError(f"{problem}. Last lines of {triton.log}:\n  {triton.last_lines()}")
