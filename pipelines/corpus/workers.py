"""Knows how to run a function over many inputs in processes that may take so much time and memory and no more.

A hostile input can hang, crash or bloat its process, never the run: the process is ended and replaced, and the input has a reason.
"""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")


@dataclass(frozen=True)
class Limits:
    """What one input may take."""

    seconds: float
    memory_bytes: int  # address space of the worker process, its libraries included (about 400 MiB)


@dataclass
class Worker(Generic[Key]):
    """A process, the connection to it, and the input that it works on."""

    process: BaseProcess
    connection: Connection
    key: Key | None = None
    deadline: float = 0.0


def run(function: Callable[[Any], Any], inputs: Iterable[tuple[Key, Any]], limits: Limits, num_workers: int, preload: Iterable[str] = ()) -> Iterator[tuple[Key, Any, str | None]]:
    """(key, result, problem) for every input, in the order in which they end; `problem` is the reason why there is no result.

    `inputs` is drawn as workers become free, so that no more than `num_workers` of them are in memory. An error that `function`
    raises is a problem with its text; `function` must be importable. `preload` names modules that are imported once, not by every worker.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__, *preload])
    waiting = iter(inputs)
    workers: list[Worker[Key]] = []
    try:
        while True:
            _employ(workers, waiting, context, function, limits, num_workers)
            busy = [worker for worker in workers if worker.key is not None]
            if not busy:
                return
            until = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
            ready = wait([worker.connection for worker in busy], timeout=until)
            for worker in [worker for worker in busy if worker.connection in ready]:
                yield _outcome(worker, workers)
            for worker in [worker for worker in busy if worker.key is not None and time.monotonic() >= worker.deadline]:
                key = worker.key
                assert key is not None
                _dismiss(worker, workers)
                yield key, None, f"took more than {limits.seconds:g} s"
    finally:
        for worker in list(workers):
            _dismiss(worker, workers)


def _employ(workers: list[Worker[Key]], waiting: Iterator[tuple[Key, Any]], context: Any, function: Callable[[Any], Any], limits: Limits, num_workers: int) -> None:
    """Give an input to every worker that has none; start workers while there are fewer than wanted."""
    while True:
        idle = next((worker for worker in workers if worker.key is None), None)
        if idle is None and len(workers) >= num_workers:
            return
        try:
            key, value = next(waiting)
        except StopIteration:
            return
        if idle is None:
            idle = _started(context, function, limits)
            workers.append(idle)
        idle.key, idle.deadline = key, time.monotonic() + limits.seconds
        idle.connection.send(value)


def _started(context: Any, function: Callable[[Any], Any], limits: Limits) -> Worker[Any]:
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, function, limits.memory_bytes), daemon=True)
    process.start()
    theirs.close()
    return Worker(process, ours)


def _outcome(worker: Worker[Key], workers: list[Worker[Key]]) -> tuple[Key, Any, str | None]:
    key = worker.key
    assert key is not None
    try:
        result, problem = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join(5)
        code = worker.process.exitcode
        _dismiss(worker, workers)
        return key, None, f"crashed its reader (signal {-code})" if code and code < 0 else f"ended its reader (exit code {code})"
    worker.key = None
    if problem == OUT_OF_MEMORY:
        _dismiss(worker, workers)  # its memory is in pieces
    return key, result, problem


def _dismiss(worker: Worker[Any], workers: list[Worker[Any]]) -> None:
    workers.remove(worker)
    worker.key = None
    worker.connection.close()
    worker.process.kill()
    worker.process.join()
    worker.process.close()


OUT_OF_MEMORY = "needs more memory than ingest.limits.memory_mib allows"


def serve(connection: Connection, function: Callable[[Any], Any], memory_bytes: int) -> None:
    """A worker's life: take an input, answer (result, problem), until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.environ["OMP_NUM_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            value = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        except MemoryError:
            connection.send((None, OUT_OF_MEMORY))
            continue
        answer: tuple[Any, str | None]
        try:
            answer = (function(value), None)
        except MemoryError:
            answer = (None, OUT_OF_MEMORY)
        except Exception as error:  # whatever a library raises on a hostile input is the reason of its rejection
            answer = (None, str(error) or type(error).__name__)
        del value
        try:
            connection.send(answer)
        except MemoryError:
            connection.send((None, OUT_OF_MEMORY))
