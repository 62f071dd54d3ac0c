"""The traffic log, inside Triton: rows go to a journal within a fraction of a second and from there to Parquet, by a thread of its own.

A row is appended to a journal (JSON lines, `requests/.<segment>.jsonl`) at most FLUSH_SECONDS after it was added, so a kill loses less than a second.
A journal becomes `requests/<segment>.parquet` when it is old or long enough, at a clean stop, or at the next start after a kill: by a
temporary name and a rename, under the journal's own name, so that no row is written twice.
"""

import fcntl
import json
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import traffic  # the schema: pipelines/contracts/traffic.py, copied beside this file

FLUSH_SECONDS = 0.2
ROLL_SECONDS, ROLL_ROWS = 5.0, 2000  # a journal becomes Parquet when it is that old or that long
MAX_WAITING = 20_000  # rows in memory; with more the entry refuses requests: what cannot be logged is not answered


class Entry:
    """What the model that users ask does beside answering: it logs every request. Without a folder there is no log."""

    def __init__(self, folder: str, prices: dict[str, float]):
        self._prices = prices
        self._log = TrafficLog(Path(folder)) if folder else None

    def full(self) -> bool:
        return self._log is not None and self._log.full()

    def log(self, asked: Any, row: dict[str, Any], began: float) -> dict[str, Any]:
        """Complete a row by what the entry knows, and add it. Returns the row."""
        prices, counted = self._prices, {"prompt": row["num_prompt_tokens"], "new": row["num_new_tokens"]}
        cost = sum(counted[kind] * prices.get(f"{kind}_tokens_per_million", 0.0) / 1e6 for kind in counted) + prices.get("request", 0.0)
        whole = {**row, "request_id": asked.request_id, "tenant": asked.tenant, "time": began, "cost": cost}
        if self._log is not None:
            self._log.add({name: whole[name] for name in traffic.REQUESTS.names})
        return whole

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


class TrafficLog:
    """Rows in, files out. `add` never waits for the disk."""

    def __init__(self, folder: Path):
        self._folder = folder / "requests"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._rows: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._number = 0
        recover(self._folder)
        self._thread = threading.Thread(target=self._write, name="traffic log")
        self._thread.start()

    def add(self, row: dict[str, Any]) -> None:
        self._rows.put(row)

    def full(self) -> bool:
        return self._rows.qsize() >= MAX_WAITING

    def close(self) -> None:
        """Write what is left; returns when it is on disk."""
        self._rows.put(None)
        self._thread.join()

    def _write(self) -> None:
        ended = False
        while not ended:
            path = self._folder / f".{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{self._number}.jsonl"
            self._number += 1
            first = self._rows.get()
            if first is None:
                return
            with path.open("a", encoding="utf-8") as journal:
                fcntl.flock(journal, fcntl.LOCK_EX)  # says that its writer lives
                ended = self._fill(journal, [first])
                self._patiently(path)

    def _fill(self, journal: Any, held: list[dict[str, Any]]) -> bool:
        """Append rows until the journal is old or long enough; whether the log was closed."""
        began, count = time.monotonic(), 0
        while time.monotonic() - began < ROLL_SECONDS and count < ROLL_ROWS:
            ended = self._collect(held)
            journal.write("".join(json.dumps(row) + "\n" for row in held))
            journal.flush()
            count += len(held)
            held.clear()
            if ended:
                return True
        return False

    def _collect(self, held: list[dict[str, Any]]) -> bool:
        """Take what comes within FLUSH_SECONDS; whether the end came."""
        until = time.monotonic() + FLUSH_SECONDS
        while (left := until - time.monotonic()) > 0 and len(held) < ROLL_ROWS:
            with suppress(queue.Empty):
                row = self._rows.get(timeout=left)
                if row is None:
                    return True
                held.append(row)
        return False

    def _patiently(self, path: Path) -> None:
        """Roll a journal; where the disk is full or broken, say so and try again: the journal stays until it is done."""
        while True:
            try:
                roll(path)
                return
            except OSError as error:
                print(f"traffic log: {path} cannot become Parquet: {error}", file=sys.stderr, flush=True)
                time.sleep(1)


def recover(folder: Path) -> None:
    """Roll the journals whose writer was killed."""
    for path in sorted(folder.glob(".*.jsonl")):
        with suppress(FileNotFoundError), path.open("a") as journal, suppress(BlockingIOError):
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            roll(path)


def rows_of(journal: Path) -> list[dict[str, Any]]:
    """The rows of a journal; a last line that was cut off by a kill is none."""
    found = []
    lines = journal.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines):
        try:
            found += [json.loads(line)] if line else []
        except ValueError:
            if number < len(lines) - 1:
                raise
    return found


def roll(journal: Path) -> None:
    """A journal becomes a Parquet file of its name; repeatable after a kill at any instant."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = journal.with_name(journal.name.removeprefix(".").replace(".jsonl", ".parquet"))
    rows = rows_of(journal)
    if rows and not target.exists():
        for row in rows:
            row["time"] = int(row["time"] * 1e6)
        temporary = target.with_name(f".{target.name}.new")
        pq.write_table(pa.Table.from_pylist(rows, schema=traffic.REQUESTS), temporary, compression="zstd")
        temporary.rename(target)
    journal.unlink()
