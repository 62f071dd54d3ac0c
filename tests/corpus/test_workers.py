import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus import intake, workers
from pipelines.corpus.workers import Limits

LIMITS = Limits(seconds=20, memory_bytes=1 << 30)


def act(task: tuple[str, Any]) -> Any:
    """What the workers of these tests do."""
    name, value = task
    actions: dict[str, Callable[[], Any]] = {
        "double": lambda: value * 2,
        "sleep": lambda: time.sleep(value),
        "bloat": lambda: len(bytearray(value)),
        "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "leave": lambda: os._exit(value),
        "raise": lambda: {}[value],
        "process": os.getpid,
        "shares": lambda: sys.modules[value].IDENTIFIER is not None,
    }
    return actions[name]()


def outcomes(tasks: dict[str, tuple[str, Any]], limits: Limits = LIMITS, num_workers: int = 2) -> dict[str, tuple[Any, str | None]]:
    return {key: (result, problem) for key, result, problem in workers.run(act, tasks.items(), limits, num_workers)}


def test_one_input_that_bloats_crashes_hangs_leaves_or_raises_has_its_reason_and_the_others_their_results() -> None:
    tasks: dict[str, tuple[str, Any]] = {
        "a": ("double", 1), "bloats": ("bloat", 2 << 30), "crashes": ("crash", None), "leaves": ("leave", 3), "raises": ("raise", "no key"), "hangs": ("sleep", 60), "z": ("double", 2),
    }  # fmt: skip
    began = time.monotonic()
    found = outcomes(tasks, Limits(seconds=4, memory_bytes=1 << 30))
    assert time.monotonic() - began < 30
    assert found == {
        "a": (2, None), "z": (4, None), "bloats": (None, workers.OUT_OF_MEMORY), "crashes": (None, "crashed its reader (signal 11)"), "leaves": (None, "ended its reader (exit code 3)"),
        "raises": (None, "'no key'"), "hangs": (None, "took more than 4 s"),
    }  # fmt: skip


def test_inputs_are_drawn_as_workers_become_free_and_processes_are_used_again() -> None:
    drawn: list[int] = []

    def inputs() -> Any:
        for number in range(30):
            drawn.append(number)
            yield number, ("process", None)

    seen: set[int] = set()
    for count, (_, process, problem) in enumerate(workers.run(act, inputs(), LIMITS, 2), start=1):
        assert problem is None
        assert len(drawn) <= count + 2
        seen.add(process)
    assert len(drawn) == 30
    assert 1 <= len(seen) <= 2


def test_no_worker_outlives_the_run_even_when_its_caller_stops_half_way() -> None:
    running = workers.run(act, ((number, ("process", None)) for number in range(9)), LIMITS, 2)
    _, process, _ = next(running)
    assert Path(f"/proc/{process}").exists()
    assert isinstance(running, Generator)
    running.close()
    assert not Path(f"/proc/{process}").exists()


def test_no_inputs_start_no_worker() -> None:
    assert outcomes({}) == {}


@pytest.mark.parametrize("num_workers", [1, 4])
def test_results_do_not_depend_on_the_number_of_workers(num_workers: int) -> None:
    assert outcomes({str(number): ("double", number) for number in range(8)}, num_workers=num_workers) == {str(number): (2 * number, None) for number in range(8)}


def test_readers_find_the_model_of_languages_unpacked() -> None:
    from multiprocessing import forkserver

    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # one that runs since an earlier test has imported what that test asked for
    assert list(workers.run(act, {"a": ("shares", "py3langid.langid")}.items(), LIMITS, 1, intake.PRELOAD)) == [("a", True, None)]
