"""The row of one request in the traffic log while the request is worked on."""

import time
from types import TracebackType
from typing import Any

from .status import Status

STEPS = ("guard", "embed", "search", "generate")


def new_row(release_id: str, question: str) -> dict[str, Any]:
    """The row of a request about which nothing is known yet: it counts as failed."""
    row: dict[str, Any] = {
        "release_id": release_id,
        "question": question,
        "retrieved": [],
        "answer": None,
        "status": Status.FAILED,
        "error": None,
        "refused": False,
        "guard_flags": [],
        "groundedness": None,
        "num_prompt_tokens": 0,
        "num_new_tokens": 0,
    }
    return row | dict.fromkeys(f"{step}_ms" for step in STEPS)


def milliseconds_since(start: float) -> float:
    """`start` in seconds since 1970."""
    return 1000 * (time.time() - start)


class Timer:
    """Writes the milliseconds of a step into a row, also if the step fails."""

    def __init__(self, row: dict[str, Any], step: str):
        self._row = row
        self._step = step

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._row[f"{self._step}_ms"] = 1000 * (time.perf_counter() - self._start)
