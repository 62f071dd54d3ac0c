"""The traffic log, its feedback, and the windows that monitoring made of them.

A request that speaks of the subject goes as a whole, with its feedback and its row in a window.
"""

import datetime
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import files
from pipelines.contracts.drift import Decision, Verdict
from pipelines.erasure import gateway_tables, parquet_rows
from pipelines.erasure.finding import Finding
from pipelines.erasure.layout import list_files
from pipelines.erasure.subject import Subject
from pipelines.errors import UserError
from pipelines.monitoring import cycle, decisions, judging, log_files, window, window_page
from pipelines.runtime import traffic_log

JOURNAL_SECONDS = 4 * traffic_log.ROLL_SECONDS
POLL_SECONDS = 0.2
REQUESTS = window.TRAFFIC / "requests"
Row = dict[str, Any]


def find(subject: Subject) -> Iterator[Finding]:
    """Rows of the log, of the feedback, and of the windows.

    Waits until the rows of the last seconds are in files. Raises UserError if a file cannot be
    read, or if the running server does not write its rows.
    """
    ids = request_ids(subject)

    def goes(row: Row) -> bool:
        return row["request_id"] in ids or _is_meant(subject, row)

    return _find_rows(goes)


def request_ids(subject: Subject) -> set[str]:
    """Ids of the requests that speak of it or, by the log and the gateway, are the tenant's.

    Raises as `find`.
    """
    _finish_journals(REQUESTS)
    ids = gateway_tables.request_ids(subject)
    for path in list_files(REQUESTS, "*.parquet"):
        ids |= {row["request_id"] for row in _rows(path) if _is_meant(subject, row)}
    return ids


def find_older(limit: datetime.datetime) -> Iterator[Finding]:
    """Rows from before a time. Raises UserError if a file cannot be read."""

    def goes(row: Row) -> bool:
        return row["time"] is not None and row["time"] < limit

    def may_hold(path: Path) -> bool:
        try:
            with pq.ParquetFile(path) as file:
                return log_files.can_hold_rows_before(limit, file)
        except (pa.ArrowException, OSError, ValueError):
            return True  # reading it says what is wrong

    return _find_rows(goes, may_hold)


def _find_rows(
    goes: Callable[[Row], bool], may_hold: Callable[[Path], bool] = Path.exists
) -> Iterator[Finding]:
    """The rows that go, of the files that may hold some.

    The log's requests come last: by them, and by the gateway, a second call finds the others.
    """
    yield from _find_windows(goes, may_hold)
    for name in ("feedback", "requests"):
        for path in filter(may_hold, list_files(window.TRAFFIC / name, "*.parquet")):
            mask = [not goes(row) for row in _rows(path)]
            if not all(mask):
                remove = partial(_keep_rows, path, mask)
                yield Finding(f"traffic log, {name}", mask.count(False), "rows", remove)


def _is_meant(subject: Subject, row: Row) -> bool:
    if subject.kind == "tenant":
        return row.get("tenant") == subject.name
    return subject.is_in(row)


def _rows(path: Path) -> list[Row]:
    try:
        rows: list[Row] = pq.read_table(path).to_pylist()
        return rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as Parquet ({error}), so nobody knows whom it speaks of: "
            "look at it and move it away, then run the same command again"
        ) from error


def _finish_journals(folder: Path) -> None:
    """Bring rows that are still in journals to Parquet; a live server does so by itself."""
    journals = set(list_files(folder, ".*.jsonl"))
    deadline = time.monotonic() + JOURNAL_SECONDS
    while journals:
        traffic_log.recover(folder)
        journals &= set(folder.glob(".*.jsonl"))
        if journals and time.monotonic() > deadline:
            raise UserError(
                f"{min(journals)} did not become Parquet within {JOURNAL_SECONDS:.0f} s, though a "
                "running server writes to it: see that server's log (a full disk?), then run the "
                "same command again"
            )
        time.sleep(POLL_SECONDS if journals else 0)


def _keep_rows(path: Path, mask: list[bool]) -> None:
    if any(mask):
        parquet_rows.keep(path, mask)
    else:
        path.unlink()


def _find_windows(
    goes: Callable[[Row], bool], may_hold: Callable[[Path], bool]
) -> Iterator[Finding]:
    for path in filter(may_hold, list_files(window.WINDOWS, "*.parquet")):
        rows = _rows(path)
        mask = [not goes(row) for row in rows]
        questions = {row["question"] for row, stays in zip(rows, mask, strict=True) if not stays}
        if questions:
            remove = partial(_clean_window, path, mask, questions)
            yield Finding("windows of monitoring", mask.count(False), "rows", remove)


def _clean_window(path: Path, mask: list[bool], questions: set[str]) -> None:
    """Remove a window's rows, and what its verdict, decision and pages quote of them.

    The table may become empty but stays: the windows after it read it. It is replaced last, so that
    after a kill the same command finds its rows again.
    """
    quotes = {judging.printable(question) for question in questions}
    verdict_path = path.with_suffix(".json")
    path.with_suffix(".evidently.html").unlink(missing_ok=True)
    if verdict_path.exists():
        verdict = _without_quotes(files.read_json(verdict_path, Verdict), quotes)
        files.write_json(verdict_path, verdict)
        files.write_text(path.with_suffix(".html"), window_page.render_window(verdict))
    decisions.erase_quotes(path.stem, quotes)
    cycle.write_trend(decisions.read().decisions)
    if cycle.DECISION.exists():
        last = files.read_json(cycle.DECISION, Decision)
        reason = decisions.without_quotes(last.reason, quotes)
        files.write_json(cycle.DECISION, last.model_copy(update={"reason": reason}))
    parquet_rows.keep(path, mask)


def _without_quotes(verdict: Verdict, quotes: set[str]) -> Verdict:
    signals = []
    for signal in verdict.signals:
        examples = [text for text in signal.examples if text not in quotes]
        signals.append(signal.model_copy(update={"examples": examples}))
    sentence = decisions.without_quotes(verdict.sentence, quotes)
    return verdict.model_copy(update={"signals": signals, "sentence": sentence})
