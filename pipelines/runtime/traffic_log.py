"""The traffic log: rows reach a journal within a fraction of a second, and from there Parquet.

A row is appended to a journal (JSON lines, `requests/.<segment>.jsonl`) at most FLUSH_SECONDS after
it was added, so a kill loses less than a second. A journal becomes `requests/<segment>.parquet`
when it is old or long enough, at a clean stop, or at the next start after a kill: by a temporary
name and a rename, under the journal's own name, so that no row is written twice.
"""

import fcntl
import json
import os
import queue
import secrets
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from . import traffic_schema

if TYPE_CHECKING:
    from .exchange import UserRequest  # which loads only inside Triton

FLUSH_SECONDS = 0.2
# A journal becomes Parquet when it is so old or so long.
ROLL_SECONDS = 5.0
ROLL_ROWS = 2000
# Rows in memory; beyond them the entry refuses requests: what cannot be logged is not answered.
MAX_WAITING = 20_000
RETRY_SECONDS = 1.0  # until a full or broken disk is tried again
Row = dict[str, Any]


class RequestLog:
    """Logs the requests of the model that users ask. Without a folder nothing is logged."""

    def __init__(self, folder: str, prices: dict[str, float]):
        self._prices = prices
        self._log = TrafficLog(Path(folder)) if folder else None

    def is_full(self) -> bool:
        return self._log is not None and self._log.is_full()

    def add(self, request: "UserRequest", row: Row, start: float) -> Row:
        """Complete a row and log it; returns the completed row. `start`: seconds since 1970."""
        complete = {
            **row,
            "request_id": request.request_id,
            "tenant": request.tenant,
            "position": request.position,
            "time": start,
            "cost": self._cost(row),
        }
        if self._log is not None:
            self._log.add({name: complete[name] for name in traffic_schema.REQUESTS.names})
        return complete

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _cost(self, row: Row) -> float:
        prompt_price = self._prices.get("prompt_tokens_per_million", 0.0)
        new_price = self._prices.get("new_tokens_per_million", 0.0)
        prompt_cost = row["num_prompt_tokens"] * prompt_price / 1e6
        new_cost = row["num_new_tokens"] * new_price / 1e6
        return float(prompt_cost + new_cost + self._prices.get("request", 0.0))


class TrafficLog:
    """Rows in, files out. `add` never waits for the disk."""

    def __init__(self, folder: Path):
        self._folder = folder / "requests"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)  # questions are personal
        self._number = 0  # of the next journal
        self._rows: queue.Queue[Row | None] = queue.Queue()
        recover(self._folder)
        self._thread = threading.Thread(target=self._write, name="traffic log")
        self._thread.start()

    def add(self, row: Row) -> None:
        self._rows.put(row)

    def is_full(self) -> bool:
        return self._rows.qsize() >= MAX_WAITING

    def close(self) -> None:
        """Write what is left; returns when it is on disk."""
        self._rows.put(None)
        self._thread.join()

    def _write(self) -> None:
        is_closed = False
        while not is_closed:
            first = self._rows.get()
            if first is None:
                return
            with self._new_journal() as journal:
                is_closed = self._fill(journal, [first])
                _roll_patiently(Path(journal.name))

    def _new_journal(self) -> TextIO:
        """A journal of no other name, locked, which says that its writer is alive.

        Containers that share the folder may have the same process ids. Somebody who recovers
        journals may take a new one for a killed server's before it is locked, and remove it.
        """
        while True:
            moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            name = f".{moment}-{self._number:06}-{secrets.token_hex(6)}.jsonl"
            self._number += 1
            path = self._folder / name
            journal = open(path, "x", encoding="utf-8", opener=_open_privately)  # noqa: SIM115
            fcntl.flock(journal, fcntl.LOCK_EX)
            if path.exists():
                return journal
            journal.close()

    def _fill(self, journal: TextIO, rows: list[Row]) -> bool:
        """Append rows until the journal is old or long enough; returns whether the log closed."""
        start = time.monotonic()
        num_rows = 0
        while time.monotonic() - start < ROLL_SECONDS and num_rows < ROLL_ROWS:
            is_closed = self._collect(rows)
            journal.write("".join(json.dumps(row) + "\n" for row in rows))
            journal.flush()
            num_rows += len(rows)
            rows.clear()
            if is_closed:
                return True
        return False

    def _collect(self, rows: list[Row]) -> bool:
        """Add what arrives within FLUSH_SECONDS to `rows`; returns whether the log was closed."""
        end = time.monotonic() + FLUSH_SECONDS
        while (seconds := end - time.monotonic()) > 0 and len(rows) < ROLL_ROWS:
            with suppress(queue.Empty):
                row = self._rows.get(timeout=seconds)
                if row is None:
                    return True
                rows.append(row)
        return False


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def recover(folder: Path) -> None:
    """Roll the journals whose writer was killed."""
    for path in sorted(folder.glob(".*.jsonl")):
        with suppress(FileNotFoundError), path.open("a") as journal, suppress(BlockingIOError):
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            roll(path)


def rows_of(journal: Path) -> list[Row]:
    """The rows of a journal; a last line that was cut off by a kill does not count."""
    lines = journal.read_text(encoding="utf-8").split("\n")
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            if line:
                rows.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise
    return rows


def roll(journal: Path) -> None:
    """Turn a journal into a Parquet file of its name; repeatable after a kill at any instant."""
    target = journal.with_name(journal.name.removeprefix(".").replace(".jsonl", ".parquet"))
    rows = rows_of(journal)
    if rows and not target.exists():
        _write_parquet(rows, target)
    journal.unlink()


def _write_parquet(rows: list[Row], target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for row in rows:
        row["time"] = int(row["time"] * 1e6)  # microseconds
    temporary = target.with_name(f".{target.name}.new")
    table = pa.Table.from_pylist(rows, schema=traffic_schema.REQUESTS)
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    pq.write_table(table, temporary, compression="zstd")
    temporary.rename(target)


def _roll_patiently(path: Path) -> None:
    """Roll a journal; if the disk is full or broken, say so and try again until it is done."""
    while True:
        try:
            roll(path)
            return
        except OSError as error:
            message = f"traffic log: {path} cannot become Parquet: {error}"
            print(message, file=sys.stderr, flush=True)
            time.sleep(RETRY_SECONDS)
