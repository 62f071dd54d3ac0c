"""Reads the traffic log and feedback of this clone, the seconds that are still in a journal included."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.contracts.traffic import FEEDBACK, REQUESTS

Row = dict[str, Any]


def requests(folder: Path, since: float) -> list[Row]:
    """Rows of requests that came at `since` (seconds since 1970) or later, oldest first."""
    found: dict[str, Row] = {}
    for journal in sorted((folder / "requests").glob(".*.jsonl")):
        found.update((_key(row), row) for row in _journal(journal))
    for path in _recent(folder / "requests", since):
        found.update((_key(row), row) for row in files.read(path, REQUESTS))
    return sorted((row for row in found.values() if row["time"].timestamp() >= since), key=lambda row: row["time"])


def thumbs(folder: Path, since: float) -> dict[str, int]:
    """Request id -> its last thumb (1 or -1), from feedback files written at `since` or later."""
    rows = [row for path in _recent(folder / "feedback", since) for row in files.read(path, FEEDBACK)]
    return {row["request_id"]: row["thumb"] for row in sorted(rows, key=lambda row: row["time"]) if row["thumb"] is not None}


def _recent(folder: Path, since: float) -> Iterator[Path]:
    """Files that may hold rows of that time: a file is written after its rows came."""
    return (path for path in sorted(folder.glob("*.parquet")) if path.stat().st_mtime >= since)


def _journal(path: Path) -> list[Row]:
    """The rows of a journal; none where it has just become Parquet."""
    import json

    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    rows = [json.loads(line) for line in lines[:-1] if line]  # the last line may be half written
    return [{**row, "time": datetime.datetime.fromtimestamp(row["time"], datetime.UTC)} for row in rows]


def _key(row: Row) -> str:
    return f"{row['request_id']} {row['time'].timestamp():.3f}"
