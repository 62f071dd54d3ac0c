"""Rows of the traffic log for the tests of this folder."""

import datetime
import os
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.contracts.traffic import FEEDBACK, REQUESTS

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


def request(number: int, **changes: Any) -> dict[str, Any]:
    """The request q<number>, answered by r-1, a minute after the one before it."""
    row: dict[str, Any] = dict.fromkeys(REQUESTS.names)
    row |= {
        "request_id": f"q{number:04}",
        "time": NOW - datetime.timedelta(minutes=600 - number),
        "release_id": "r-1",
        "tenant": "default",
        "position": 0.5,
        "question": f"Question {number}?",
        "retrieved": [],
        "answer": "Yes.",
        "status": "ok",
        "refused": False,
        "guard_flags": [],
        "num_prompt_tokens": 5,
        "num_new_tokens": 3,
        "total_ms": 20.0,
        "cost": 0.0,
    }
    return row | changes


def feedback(number: int, **changes: Any) -> dict[str, Any]:
    """A thumb down for the request q<number>."""
    row: dict[str, Any] = {"request_id": f"q{number:04}", "time": NOW, "who": "ada", "thumb": -1}
    return row | {"correction": None, "comment": None} | changes


def write_requests(folder: Path, rows: list[dict[str, Any]], name: str = "a") -> None:
    """A file of the log, written now."""
    path = folder / f"requests/{name}.parquet"
    files.write(path, REQUESTS, rows)
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))


def write_feedback(folder: Path, rows: list[dict[str, Any]], name: str = "a") -> None:
    files.write(folder / f"feedback/{name}.parquet", FEEDBACK, rows)
