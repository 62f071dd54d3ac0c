"""`python -m pipelines traffic`: the requests that no window has judged yet, validated, each once, as the next window would hold them."""

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipelines import files, quality
from pipelines.config import params
from pipelines.config.monitor import WindowConfig
from pipelines.contracts.drift import ENOUGH, Decision
from pipelines.contracts.report import Check, Report
from pipelines.contracts.traffic import STATUSES
from pipelines.contracts.window import WINDOW
from pipelines.monitoring import decision as decisions
from pipelines.monitoring import window as windows
from pipelines.quality import Promise

TRAFFIC, MONITOR = Path("data/traffic"), Path("data/reports/drift")
WINDOWS, LEDGER = MONITOR / "windows", MONITOR / "decisions.jsonl"


@dataclass(frozen=True)
class Window:
    """The next window: its validated table, or why it cannot be judged. `judged_to`: up to where it uses the log up; None where its rows stay."""

    name: str
    release_id: str | None
    table: pd.DataFrame  # contracts.window
    checks: Report
    problem: str | None
    judged_to: str | None


def run() -> int:
    """Print the checks; write nothing but the table. Exit code 0, also where nothing can be told: that is what it says."""
    config = params.load().monitor
    found = collect(config.window, decisions.read(LEDGER)[0], now())
    for check in found.checks.checks:
        print(
            f"{'good  ' if check.passed else 'BROKEN'}  {check.name}: {check.observed}, expected {check.expected}"
            + (f" e.g. {', '.join(check.examples)}" if check.examples and not check.passed else "")
        )
    print(f"\nwindow {found.name}: {len(found.table)} requests to {found.release_id or 'no release'}: {found.problem or 'can be judged'}")
    return 0


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def collect(config: WindowConfig, before: Sequence[Decision], at: datetime.datetime) -> Window:
    """Read the log after what was judged before, validate it, and keep its table in data/reports/drift/windows."""
    log = windows.read(TRAFFIC, _since(before), at)
    release_id = windows.newest_release(log, config.min_requests)
    judged = _judged(before, release_id)
    rows = windows.unjudged(log, release_id, judged, config) if release_id else log.requests
    num = rows["request_id"].nunique()
    name = _name(rows)
    report = Report.of([windows.readable(log), *_examined(rows, config, at)])
    table = windows.table(rows, log)
    if num < config.min_requests:
        waiting = f"{num} of {config.min_requests} requests have come since the last window" if num else "no request has come since the last window"
        problem: str | None = f"Cannot tell: {waiting}{'; ' + '; '.join(log.problems) if log.problems else ''}."
    else:
        problem = None if report.passed else f"Cannot tell: {report.reason}." + (f" {log.problems[0]}" if log.problems else "")
    used = num >= config.min_requests and not log.problems
    judged_to = min(rows["time"].iloc[-1], pd.Timestamp(at)).isoformat() if used else None
    files.write(WINDOWS / f"{name}.parquet", WINDOW, windows.arrow_rows(table))
    return Window(name, release_id, table, report, problem, judged_to)


def _since(before: Sequence[Decision]) -> datetime.datetime | None:
    last = [decision.judged_to for decision in before if decision.judged_to]
    return datetime.datetime.fromisoformat(max(last)) if last else None


def _judged(before: Sequence[Decision], release_id: str | None) -> set[str]:
    """Ids of the requests in windows that used the log up, as far back as it is read. Raises UserError where such a window's table is gone."""
    since, found = _since(before), set()
    for decision in before:
        if decision.judged_to and since and decision.release_id == release_id and datetime.datetime.fromisoformat(decision.judged_to) > since - 2 * windows.LATE:
            found |= {row["request_id"] for row in files.read(WINDOWS / f"{decision.window}.parquet", WINDOW)}
    return found


def _name(rows: pd.DataFrame) -> str:
    last = rows["time"].iloc[-1].strftime("%Y%m%dT%H%M%S") if len(rows) else "empty"
    return f"w-{last}-{hashlib.sha256(' '.join(sorted(set(rows['request_id']))).encode()).hexdigest()[:8]}"


def _examined(rows: pd.DataFrame, config: WindowConfig, at: datetime.datetime) -> list[Check]:
    if rows.empty:
        return [Check(name=ENOUGH, passed=False, observed="0", expected=f"at least {config.min_requests}")]
    return quality.examine(windows.described(rows, at), _promises(config), "traffic").checks


def _promises(config: WindowConfig) -> list[Promise]:
    """What a log must be like to tell anything. Shape is the contract's job (windows.read)."""
    between, highest = "ExpectColumnValuesToBeBetween", "ExpectColumnMaxToBeBetween"
    return [
        Promise(ENOUGH, "ExpectTableRowCountToBeBetween", {"min_value": config.min_requests}),
        Promise("request ids are unique", "ExpectColumnValuesToBeUnique", {"column": "request_id"}, 1 - config.max_duplicate_share),
        Promise("status is a known one", "ExpectColumnValuesToBeInSet", {"column": "status", "value_set": list(STATUSES)}),
        Promise("an answered request has an answer", "ExpectColumnValuesToBeInSet", {"column": "answered", "value_set": [True]}),
        Promise("no row from the future, in minutes", highest, {"column": "ahead_minutes", "max_value": config.clock_tolerance_minutes}),
        Promise("the clock never goes back, in minutes", highest, {"column": "back_minutes", "max_value": config.clock_tolerance_minutes}),
        Promise("no gap in time, in hours", highest, {"column": "gap_hours", "max_value": config.max_gap_hours}),
        Promise("share of failed requests", "ExpectColumnMeanToBeBetween", {"column": "failed", "max_value": config.max_failed_share}),
        Promise("no question floods the window", highest, {"column": "same_question_share", "max_value": config.max_same_question_share}),
        Promise("latency in milliseconds", between, {"column": "total_ms", "min_value": 0}),
        Promise("cost", between, {"column": "cost", "min_value": 0}),
        Promise("groundedness", between, {"column": "groundedness", "min_value": 0, "max_value": 1.000001}),
    ]
