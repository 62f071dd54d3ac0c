"""Reads the traffic log and the feedback of this clone.

The seconds that are still in a journal are included.
"""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines import files
from pipelines.contracts.traffic import FEEDBACK, REQUESTS, REQUESTS_WITHOUT_POSITION

Row = dict[str, Any]
CLOCK_STEP_SECONDS = 0.05  # by which a file system's clock may lag behind the processes' own


def requests(folder: Path, since: float) -> list[Row]:
    """Rows of requests that came at `since` (seconds since 1970) or later, oldest first."""
    # Journals first: one may become a Parquet file meanwhile.
    rows: dict[str, Row] = {}
    for journal in sorted((folder / "requests").glob(".*.jsonl")):
        for row in _read_journal(journal):
            rows[_key(row)] = row
    for path in _recent_files(folder / "requests", since):
        for row in _read_file(path):
            rows[_key(row)] = row
    recent = [row for row in rows.values() if row["time"].timestamp() >= since]
    return sorted(recent, key=_time)


def newest_first(folder: Path) -> Iterator[Row]:
    """Rows of all requests, read file by file, so that the last few come soon."""
    rows: list[Row] = []
    for journal in (folder / "requests").glob(".*.jsonl"):
        rows += _read_journal(journal)
    yield from sorted(rows, key=_time, reverse=True)
    # A journal that has just become a Parquet file is met again.
    keys = {_key(row) for row in rows}
    for path in sorted((folder / "requests").glob("*.parquet"), key=_change_time, reverse=True):
        for row in sorted(_read_file(path), key=_time, reverse=True):
            if _key(row) not in keys:
                yield row


def feedback(folder: Path, since: float) -> list[Row]:
    """Rows of feedback files that were written at `since` or later, oldest first."""
    rows: list[Row] = []
    for path in _recent_files(folder / "feedback", since):
        rows += files.read(path, FEEDBACK)
    return sorted(rows, key=_time)


def thumbs(folder: Path, since: float) -> dict[str, int]:
    """Request id -> its last thumb (1 or -1), from feedback files written at `since` or later."""
    last: dict[str, int] = {}
    for row in feedback(folder, since):
        if row["thumb"] is not None:
            last[row["request_id"]] = row["thumb"]
    return last


def _recent_files(folder: Path, since: float) -> Iterator[Path]:
    """Files that may hold rows of that time: a file is written after its rows came."""
    for path in sorted(folder.glob("*.parquet")):
        if path.stat().st_mtime >= since - CLOCK_STEP_SECONDS:
            yield path


def _change_time(path: Path) -> float:
    return path.stat().st_mtime


def _read_file(path: Path) -> Iterator[Row]:
    """The rows of a file. One that was written before there was a gateway has no positions."""
    has_position = "position" in pq.read_schema(path).names
    for row in files.read(path, REQUESTS if has_position else REQUESTS_WITHOUT_POSITION):
        yield {"position": None, **row}


def _read_journal(path: Path) -> Iterator[Row]:
    """The rows of a journal; none if it has just become a Parquet file."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return
    for line in lines[:-1]:  # the last line may be half written
        if line:
            row = json.loads(line)
            yield {
                "position": None,
                **row,
                "time": datetime.datetime.fromtimestamp(row["time"], datetime.UTC),
            }


def _key(row: Row) -> str:
    return f"{row['request_id']} {row['time'].timestamp():.3f}"


def _time(row: Row) -> datetime.datetime:
    time: datetime.datetime = row["time"]
    return time
