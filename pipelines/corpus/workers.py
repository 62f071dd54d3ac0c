"""Runs a function over many inputs in processes with limits of time and memory.

A hostile input can hang, crash or bloat its process but not the run: the process is ended and
replaced, and the input has a reason. Time is that of the CPU, so other work on the machine does not
decide what is rejected; a process that waits instead of computing is ended by the clock.
"""

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, TypeVar

Key = TypeVar("Key")
Function = Callable[[Any], Any]
OUT_OF_MEMORY = "needs more memory than ingest.limits.memory_mib allows"
OVERTIME = signal.SIGPROF  # ends a process whose input takes too much CPU time


@dataclass(frozen=True)
class Limits:
    """What one input may take."""

    seconds: float  # of CPU time, over all threads of the worker
    memory_bytes: int  # address space of the worker process, its libraries included (about 400 MiB)
    clock_seconds: float  # after which an input is taken to wait for something that never comes


class Answer(NamedTuple):
    """What a worker process sends back for an input."""

    result: Any = None
    problem: str | None = None
    is_out_of_memory: bool = False


class Outcome(NamedTuple, Generic[Key]):
    """What became of an input; `problem` says why there is no result.

    `may_pass_later`: it was too slow, out of memory or crashed, which another attempt may not be.
    """

    key: Key
    result: Any = None
    problem: str | None = None
    may_pass_later: bool = False


def run(
    function: Function,
    inputs: Iterable[tuple[Key, Any]],
    limits: Limits,
    num_workers: int,
    preload: Iterable[str] = (),
) -> Iterator[Outcome[Key]]:
    """The outcome of every input, in the order in which they finish.

    `inputs` is consumed as workers become free, so at most `num_workers` of them are in memory. An
    error that `function` raises is a problem with its text. `function` must be importable.
    `preload` names modules that are imported once instead of by every worker.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__, *preload])
    pool: Pool[Key] = Pool(context, function, limits, num_workers)
    queue = iter(inputs)
    try:
        while True:
            pool.assign(queue)
            if not pool.busy_workers():
                return
            yield from pool.wait_for_answers()
            yield from pool.dismiss_overdue()
    finally:
        pool.close()


@dataclass
class Worker(Generic[Key]):
    """A process, the connection to it, and the input that it works on."""

    process: BaseProcess
    connection: Connection
    key: Key | None = None
    value: Any = None
    deadline: float = 0.0  # of the monotonic clock
    num_inputs: int = 0  # that it has been given


@dataclass
class Pool(Generic[Key]):
    """At most `num_workers` worker processes, started when there is an input for them."""

    context: Any  # of multiprocessing
    function: Function
    limits: Limits
    num_workers: int
    workers: list[Worker[Key]] = field(default_factory=list)

    def assign(self, queue: Iterator[tuple[Key, Any]]) -> None:
        """Give an input to every idle worker; start workers while there are too few."""
        while True:
            idle = next((worker for worker in self.workers if worker.key is None), None)
            if idle is None and len(self.workers) >= self.num_workers:
                return
            try:
                key, value = next(queue)
            except StopIteration:
                return
            self._give(idle or self._start(), key, value)

    def _give(self, worker: Worker[Key], key: Key, value: Any) -> None:
        worker.key = key
        worker.value = value
        worker.num_inputs += 1
        worker.deadline = time.monotonic() + self.limits.clock_seconds
        worker.connection.send(value)

    def busy_workers(self) -> list[Worker[Key]]:
        return [worker for worker in self.workers if worker.key is not None]

    def wait_for_answers(self) -> Iterator[Outcome[Key]]:
        """The outcomes that arrive first; none if a worker's time is over before."""
        busy = self.busy_workers()
        first_deadline = min(worker.deadline for worker in busy)
        timeout = max(0.0, first_deadline - time.monotonic())
        ready = wait([worker.connection for worker in busy], timeout=timeout)
        for worker in busy:
            if worker.connection in ready:
                outcome = self._receive(worker)
                if outcome is not None:
                    yield outcome

    def dismiss_overdue(self) -> Iterator[Outcome[Key]]:
        """End the workers whose input waits too long for something."""
        for worker in self.busy_workers():
            if time.monotonic() >= worker.deadline:
                key = _key_of(worker)
                self._dismiss(worker)
                problem = f"did not end within {self.limits.clock_seconds:g} s"
                yield Outcome(key, problem=problem, may_pass_later=True)

    def close(self) -> None:
        for worker in list(self.workers):
            self._dismiss(worker)

    def _start(self) -> Worker[Key]:
        ours, theirs = self.context.Pipe()
        arguments = (theirs, self.function, self.limits)
        process = self.context.Process(target=serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        worker: Worker[Key] = Worker(process, ours)
        self.workers.append(worker)
        return worker

    def _receive(self, worker: Worker[Key]) -> Outcome[Key] | None:
        """The outcome of a worker's input; None if a fresh worker tries the input again."""
        key = _key_of(worker)
        try:
            answer: Answer = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join(5)
            code = worker.process.exitcode
            self._dismiss(worker)
            problem = _explain_exit(code, self.limits)
            return Outcome(key, problem=problem, may_pass_later=True)
        if answer.is_out_of_memory:
            value = worker.value
            was_used_before = worker.num_inputs > 1
            self._dismiss(worker)  # its memory is fragmented
            if was_used_before:
                self._give(self._start(), key, value)
                return None
        worker.key = None
        worker.value = None
        return Outcome(key, answer.result, answer.problem, answer.is_out_of_memory)

    def _dismiss(self, worker: Worker[Key]) -> None:
        self.workers.remove(worker)
        worker.key = None
        worker.connection.close()
        worker.process.kill()
        worker.process.join()
        worker.process.close()


def _key_of(worker: Worker[Key]) -> Key:
    assert worker.key is not None
    return worker.key


def _explain_exit(code: int | None, limits: Limits) -> str:
    if code == -OVERTIME:
        return f"took more than {limits.seconds:g} s of CPU time"
    if code and code < 0:
        return f"crashed its reader (signal {-code})"
    return f"ended its reader (exit code {code})"


def serve(connection: Connection, function: Function, limits: Limits) -> None:
    """A worker's life: receive an input, send an `Answer`, until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(OVERTIME, signal.SIG_DFL)
    os.environ["OMP_NUM_THREADS"] = "1"
    if sys.platform == "linux":  # macOS does not enforce a memory limit
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out_of_memory = Answer(problem=OUT_OF_MEMORY, is_out_of_memory=True)
    while True:
        try:
            value = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        except MemoryError:
            connection.send(out_of_memory)
            continue
        answer = _work(function, value, limits)
        del value
        try:
            connection.send(answer)
        except MemoryError:
            connection.send(out_of_memory)


def _work(function: Function, value: Any, limits: Limits) -> Answer:
    """The function's answer. Its CPU time is limited by a timer that ends the process."""
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)
    try:
        return Answer(function(value))
    except MemoryError:
        return Answer(problem=OUT_OF_MEMORY, is_out_of_memory=True)
    except Exception as error:
        # Whatever a library raises on a hostile input is the reason of its rejection.
        return Answer(problem=str(error) or type(error).__name__)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
