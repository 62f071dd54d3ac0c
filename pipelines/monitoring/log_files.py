"""Reads the traffic log's files.

Nothing is lost: a request that came late (logged after its window was judged) belongs to the next
window, and a file that cannot be read stays where it is and makes every verdict `cannot tell` until
a person has looked at it.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.contracts.traffic import FEEDBACK, REQUESTS, REQUESTS_WITHOUT_POSITION

Time = datetime.datetime
# A request that is logged later than this after its window was judged means a broken log.
LATE = datetime.timedelta(days=2)


@dataclass(frozen=True)
class Log:
    """What the log's files hold after a time.

    `requests` has the columns of traffic.REQUESTS, and two more: `back_minutes` (how far a row lies
    before an earlier row of its file) and `ahead_minutes` (how far it lies after now, or after its
    file was written).
    """

    requests: pd.DataFrame
    feedback: pd.DataFrame  # traffic.FEEDBACK
    problems: list[str]  # files that cannot be read or have another schema


@dataclass(frozen=True)
class Folder:
    """One of the log's folders, read from `start` on; collects the problems of its files."""

    path: Path
    schema: pa.Schema
    start: Time | None
    problems: list[str]

    def tables(self) -> Iterator[tuple[Path, pa.Table]]:
        """Every readable file with its rows after `start`."""
        for path in sorted(self.path.glob("*.parquet")):
            try:
                table = self._read(path)
            except (pa.ArrowException, OSError) as error:
                reason = " ".join(str(error).split())[:160]
                self.problems.append(f"{path}: cannot be read as Parquet ({reason})")
                continue
            if table is not None:
                yield path, table

    def _is_known(self, schema: pa.Schema) -> bool:
        if schema.equals(self.schema):
            return True
        return self.schema is REQUESTS and schema.equals(REQUESTS_WITHOUT_POSITION)

    def frames(self) -> list[pd.DataFrame]:
        """The rows of each file, as `tables` gives them."""
        return [table.to_pandas() for _, table in self.tables()]

    def _read(self, path: Path) -> pa.Table | None:
        """None if the file has a problem, or only rows before `start`: its footer tells."""
        with pq.ParquetFile(path) as file:
            if not self._is_known(file.schema_arrow.remove_metadata()):
                differences = describe_differences(file.schema_arrow, self.schema)
                self.problems.append(f"{path}: has another schema ({differences})")
                return None
            if self.start is not None and not can_hold_rows_after(self.start, file):
                return None
            table = _with_position(file.read(), self.schema)
        for field in self.schema:
            if not field.nullable and table.column(field.name).null_count:
                self.problems.append(f"{path}: column {field.name} may not be null")
                return None
        if self.start is None:
            return table
        start = pa.scalar(self.start, self.schema.field("time").type)
        is_after_start = pc.greater(table.column("time"), start)
        rows: pa.Table = table.filter(is_after_start)
        return rows


def _with_position(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the column that older files lack, all null."""
    if table.schema.names == schema.names:
        return table
    number = schema.get_field_index("position")
    field = schema.field(number)
    return table.add_column(number, field, pa.nulls(table.num_rows, field.type))


def read(folder: Path, since: Time | None, now: Time) -> Log:
    """Everything logged after `since`, less LATE."""
    start = None if since is None else since - LATE
    problems: list[str] = []
    requests_folder = Folder(folder / "requests", REQUESTS, start, problems)
    requests = [_with_clock(table, path, now) for path, table in requests_folder.tables()]
    feedback = Folder(folder / "feedback", FEEDBACK, start, problems).frames()
    return Log(
        pd.concat(requests, ignore_index=True) if requests else _no_requests(),
        pd.concat(feedback, ignore_index=True) if feedback else FEEDBACK.empty_table().to_pandas(),
        problems,
    )


def _no_requests() -> pd.DataFrame:
    numbers = pd.Series(dtype=float)
    rows: pd.DataFrame = REQUESTS.empty_table().to_pandas()
    return rows.assign(back_minutes=numbers, ahead_minutes=numbers)


def can_hold_rows_after(start: Time, file: pq.ParquetFile) -> bool:
    """Whether a file can hold rows after `start`, by its footer; without statistics, it can."""
    return any(limits is None or limits.max > start for limits in _time_limits(file))


def can_hold_rows_before(end: Time, file: pq.ParquetFile) -> bool:
    """Whether a file can hold rows before `end`, by its footer; without statistics, it can."""
    return any(limits is None or limits.min < end for limits in _time_limits(file))


def _time_limits(file: pq.ParquetFile) -> Iterator[Any]:
    """The footer's statistics of the column `time`, a row group each; None if there are none."""
    metadata = file.metadata
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    column = paths.index("time")
    for number in range(metadata.num_row_groups):
        statistics = metadata.row_group(number).column(column).statistics
        yield statistics if statistics is not None and statistics.has_min_max else None


def describe_differences(actual: pa.Schema, schema: pa.Schema) -> str:
    """The first three differences between a file's schema and the log's."""
    differences = [f"{name} is missing" for name in schema.names if name not in actual.names]
    differences += [f"{name} is unknown" for name in actual.names if name not in schema.names]
    for field in schema:
        if field.name in actual.names:
            actual_type = actual.field(field.name).type
            if not actual_type.equals(field.type):
                differences.append(f"{field.name} is {actual_type}, not {field.type}")
    return ", ".join(differences[:3]) or "another order or nullability of columns"


def _with_clock(table: pa.Table, path: Path, now: Time) -> pd.DataFrame:
    """The rows with `back_minutes` and `ahead_minutes`."""
    rows: pd.DataFrame = table.to_pandas()
    file_written = pd.Timestamp(path.stat().st_mtime, unit="s", tz="UTC")
    latest = min(pd.Timestamp(now), file_written)
    back = rows["time"].cummax() - rows["time"]
    ahead = rows["time"] - latest
    rows["back_minutes"] = back.dt.total_seconds() / 60
    rows["ahead_minutes"] = ahead.dt.total_seconds() / 60
    return rows
