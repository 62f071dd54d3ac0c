import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus import reading_code, workers
from pipelines.corpus.workers import Limits

LIMITS = Limits(seconds=20, memory_bytes=1 << 30, clock_seconds=60)
Task = tuple[str, Any]


MEMORY: list[bytearray] = []  # that a worker does not give back


def compute(seconds: float) -> str:
    """Takes so much CPU time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return "done"


def act(task: Task) -> Any:
    """What the workers of these tests do."""
    name, value = task
    actions: dict[str, Callable[[], Any]] = {
        "double": lambda: value * 2,
        "sleep": lambda: time.sleep(value),
        "compute": lambda: compute(value),
        "fragment": lambda: MEMORY.append(bytearray(value)),
        "bloat": lambda: len(bytearray(value)),
        "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "leave": lambda: os._exit(value),
        "raise": lambda: {}[value],
        "process": os.getpid,
        "shares": lambda: sys.modules[value].IDENTIFIER is not None,
    }
    return actions[name]()


def run_all(
    tasks: dict[str, Task], limits: Limits = LIMITS, num_workers: int = 2
) -> dict[str, tuple[Any, str | None]]:
    """(result, problem) of every task."""
    outcomes = workers.run(act, tasks.items(), limits, num_workers)
    return {outcome.key: (outcome.result, outcome.problem) for outcome in outcomes}


def test_an_input_that_bloats_crashes_hangs_leaves_or_raises_leaves_the_rest_unharmed() -> None:
    tasks: dict[str, Task] = {
        "a": ("double", 1),
        "bloats": ("bloat", 2 << 30),
        "crashes": ("crash", None),
        "leaves": ("leave", 3),
        "raises": ("raise", "no key"),
        "hangs": ("sleep", 90),
        "computes": ("compute", 60),
        "z": ("double", 2),
    }
    start = time.monotonic()
    outcomes = run_all(tasks, Limits(seconds=2, memory_bytes=1 << 30, clock_seconds=20))
    assert time.monotonic() - start < 60
    assert outcomes == {
        "a": (2, None),
        "z": (4, None),
        "bloats": (None, workers.OUT_OF_MEMORY),
        "crashes": (None, "crashed its reader (signal 11)"),
        "leaves": (None, "ended its reader (exit code 3)"),
        "raises": (None, "'no key'"),
        "hangs": (None, "did not end within 20 s"),
        "computes": (None, "took more than 2 s of CPU time"),
    }


def test_time_on_the_clock_rejects_nothing_that_takes_little_time_of_the_cpu() -> None:
    tasks: dict[str, Task] = {"waits": ("sleep", 3), "computes": ("compute", 0.5)}
    limits = Limits(seconds=1, memory_bytes=1 << 30, clock_seconds=30)
    assert run_all(tasks, limits) == {"waits": (None, None), "computes": ("done", None)}


def test_the_cpu_time_of_earlier_inputs_does_not_count() -> None:
    tasks: dict[str, Task] = {str(number): ("compute", 0.6) for number in range(4)}
    limits = Limits(seconds=1, memory_bytes=1 << 30, clock_seconds=30)
    assert run_all(tasks, limits, num_workers=1) == dict.fromkeys("0123", ("done", None))


def test_an_input_that_a_used_worker_has_no_memory_for_is_tried_by_a_fresh_one() -> None:
    tasks: dict[str, Task] = {"first": ("fragment", 400 << 20), "second": ("bloat", 500 << 20)}
    assert run_all(tasks, num_workers=1) == {"first": (None, None), "second": (500 << 20, None)}


@pytest.mark.parametrize(
    ("task", "may_pass_later"),
    [
        (("bloat", 2 << 30), True),
        (("crash", None), True),
        (("compute", 9), True),
        (("sleep", 60), True),
        (("raise", "no key"), False),
        (("double", 1), False),
    ],
)
def test_what_was_too_slow_out_of_memory_or_crashed_may_pass_later(
    task: Task, may_pass_later: bool
) -> None:
    limits = Limits(seconds=1, memory_bytes=1 << 30, clock_seconds=3)
    (outcome,) = workers.run(act, {"a": task}.items(), limits, 1)
    assert outcome.may_pass_later == may_pass_later


def test_inputs_are_consumed_as_workers_become_free_and_processes_are_used_again() -> None:
    consumed_numbers: list[int] = []

    def inputs() -> Iterator[tuple[int, Task]]:
        for number in range(30):
            consumed_numbers.append(number)
            yield number, ("process", None)

    processes: set[int] = set()
    outcomes = workers.run(act, inputs(), LIMITS, 2)
    for count, outcome in enumerate(outcomes, start=1):
        assert outcome.problem is None
        assert len(consumed_numbers) <= count + 2
        processes.add(outcome.result)
    assert len(consumed_numbers) == 30
    assert 1 <= len(processes) <= 2


def test_no_worker_outlives_the_run_even_if_its_caller_stops_half_way() -> None:
    inputs = ((number, ("process", None)) for number in range(9))
    outcomes = workers.run(act, inputs, LIMITS, 2)
    process = next(outcomes).result
    assert Path(f"/proc/{process}").exists()
    assert isinstance(outcomes, Generator)
    outcomes.close()
    assert not Path(f"/proc/{process}").exists()


def test_no_inputs_start_no_worker() -> None:
    assert run_all({}) == {}


@pytest.mark.parametrize("num_workers", [1, 4])
def test_results_do_not_depend_on_the_number_of_workers(num_workers: int) -> None:
    tasks: dict[str, Task] = {str(number): ("double", number) for number in range(8)}
    outcomes = {str(number): (2 * number, None) for number in range(8)}
    assert run_all(tasks, num_workers=num_workers) == outcomes


def test_readers_inherit_the_unpacked_language_model() -> None:
    # A fork server that runs since an earlier test has imported what that test asked for.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # private
    tasks = {"a": ("shares", "py3langid.langid")}
    (outcome,) = workers.run(act, tasks.items(), LIMITS, 1, reading_code.PRELOAD)
    assert outcome == ("a", True, None, False)
