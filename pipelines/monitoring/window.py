"""The next window: which requests it holds, and whether they can be judged.

Each request is in it once, with its last feedback.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import files
from pipelines.config.monitor import WindowConfig
from pipelines.contracts.drift import Decision
from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.contracts.traffic import STATUSES
from pipelines.contracts.window import WINDOW
from pipelines.corpus import quality
from pipelines.corpus.quality import Promise
from pipelines.monitoring import log_files
from pipelines.monitoring.log_files import LATE, Log
from pipelines.questions.wording import normal

TRAFFIC = Path("data/traffic")
WINDOWS = Path("data/reports/drift/windows")
REQUEST_COLUMNS = (
    *("request_id", "release_id", "question", "status", "time", "answer", "refused"),
    *("groundedness", "num_prompt_tokens", "num_new_tokens", "total_ms", "cost"),
)
FEEDBACK_COLUMNS = ("thumb", "correction")
RETRIEVAL_COLUMNS = (*("best_score", "score_gap", "num_retrieved", "top_page", "num_guard_flags"),)
WHOLE_NUMBERS = {
    *("num_guard_flags", "num_retrieved", "num_prompt_tokens", "num_new_tokens", "thumb"),
}
NUM_REQUESTS = "number of requests"


@dataclass(frozen=True)
class Window:
    """The next window: its validated table, or why it cannot be judged.

    `judged_to`: up to where it uses the log up; None if its rows stay for the next window.
    """

    name: str
    release_id: str | None
    table: pd.DataFrame  # contracts.window
    checks: Report
    problem: str | None
    judged_to: str | None


def collect(config: WindowConfig, earlier: Sequence[Decision], now: datetime.datetime) -> Window:
    """Read the log after what was judged, validate it, and keep its table in WINDOWS."""
    log = log_files.read(TRAFFIC, _last_judged(earlier), now)
    release_id = newest_release(log, config.min_requests)
    rows = log.requests
    if release_id:
        judged_ids = _judged_requests(earlier, release_id)
        rows = unjudged_rows(log, release_id, judged_ids, config)
    name = _name(rows)
    checks = [check_files(log), *_checks(rows, config, now)]
    report = Report.of(checks)
    num_requests = rows["request_id"].nunique()
    is_used = num_requests >= config.min_requests and not log.problems
    judged_to = min(rows["time"].iloc[-1], pd.Timestamp(now)).isoformat() if is_used else None
    problem = _problem(num_requests, config, report, log)
    table = flatten(rows, log)
    files.write(WINDOWS / f"{name}.parquet", WINDOW, arrow_rows(table))
    return Window(name, release_id, table, report, problem, judged_to)


def newest_release(log: Log, num_requests: int) -> str | None:
    """The release that answers: the most frequent among the last requests.

    During a canary that is the one with the greater share.
    """
    releases = log.requests.sort_values("time", kind="stable")["release_id"].tail(num_requests)
    return None if releases.empty else str(releases.mode()[0])


def unjudged_rows(
    log: Log, release_id: str, judged_ids: set[str], config: WindowConfig
) -> pd.DataFrame:
    """The release's rows that no window has judged, oldest first, duplicates included.

    At most config.max_requests distinct requests.
    """
    is_open = ~log.requests["request_id"].isin(judged_ids)
    rows = log.requests[(log.requests["release_id"] == release_id) & is_open]
    rows = rows.sort_values(["time", "request_id"], kind="stable")
    request_ids = rows["request_id"].drop_duplicates()
    if len(request_ids) <= config.max_requests:
        return rows
    last = request_ids.iloc[config.max_requests - 1]
    position = int((rows["request_id"] == last).to_numpy().argmax())
    return rows[: position + 1]


def flatten(rows: pd.DataFrame, log: Log) -> pd.DataFrame:
    """contracts.window rows: one a request, retrieval flattened, the last feedback joined."""
    requests = rows.drop_duplicates("request_id", keep="first")
    feedback = pd.DataFrame(columns=list(FEEDBACK_COLUMNS))
    if len(log.feedback):
        feedback = log.feedback.sort_values("time", kind="stable").groupby("request_id").last()
    with_feedback = requests.join(feedback[list(FEEDBACK_COLUMNS)], on="request_id")
    columns = [*REQUEST_COLUMNS, *FEEDBACK_COLUMNS]
    parts = [with_feedback[columns], _retrieval(requests)]
    return pd.concat(parts, axis=1).reset_index(drop=True)


def _retrieval(requests: pd.DataFrame) -> pd.DataFrame:
    """Best score, gap to the second, number and best page of each request's passages."""
    rows: list[dict[str, Any]] = []
    for passages, flags in zip(requests["retrieved"], requests["guard_flags"], strict=True):
        row: dict[str, Any] = dict.fromkeys(RETRIEVAL_COLUMNS)
        row |= {"num_retrieved": len(passages), "num_guard_flags": len(flags)}
        if len(passages):
            row |= {"best_score": passages[0]["score"], "top_page": passages[0]["uri"]}
        if len(passages) > 1:
            row["score_gap"] = passages[0]["score"] - passages[1]["score"]
        rows.append(row)
    return pd.DataFrame(rows, columns=list(RETRIEVAL_COLUMNS), index=requests.index)


def describe(rows: pd.DataFrame) -> pd.DataFrame:
    """What the expectations look at: one row for each logged row, `uri` names examples."""
    questions = rows["question"].map(_spelling)
    counts = questions.map(questions.value_counts())
    columns = ["request_id", "status", "back_minutes", "ahead_minutes"]
    columns += ["total_ms", "cost", "groundedness"]
    return rows[columns].assign(
        uri=rows["request_id"],
        same_question_share=counts / max(1, len(rows)),
        failed=(rows["status"] == "failed").astype(float),
        gap_hours=rows["time"].diff().dt.total_seconds().fillna(0.0) / 3600,
        answered=(rows["status"] != "ok") | rows["answer"].notna(),
    )


def _spelling(question: str) -> str:
    """The question's normal form, or the question itself if it holds no word."""
    return normal(question) or question.strip()


def check_files(log: Log) -> Check:
    """The check that no statistical promise can make: every file of the log could be read."""
    return Check(
        name="every file of the log can be read",
        passed=not log.problems,
        observed=f"{len(log.problems)} cannot",
        expected="all, in the log's schema",
        examples=log.problems[:3],
    )


def arrow_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as Parquet takes them: None for what is missing, whole numbers whole."""
    with_none = rows.astype(object).where(rows.notna(), None)
    records: list[dict[Any, Any]] = with_none.to_dict("records")
    for record in records:
        for name in WHOLE_NUMBERS:
            if record.get(name) is not None:
                record[name] = int(record[name])
    return records


def _last_judged(earlier: Sequence[Decision]) -> datetime.datetime | None:
    """Up to where the log is used up; None before the first window."""
    times = [decision.judged_to for decision in earlier if decision.judged_to]
    return datetime.datetime.fromisoformat(max(times)) if times else None


def _judged_requests(earlier: Sequence[Decision], release_id: str) -> set[str]:
    """Ids of the release's requests in windows that used the log up, as far back as it is read.

    Raises UserError if such a window's table is gone.
    """
    since = _last_judged(earlier)
    request_ids: set[str] = set()
    for decision in earlier:
        if decision.release_id != release_id or not decision.judged_to or since is None:
            continue
        if datetime.datetime.fromisoformat(decision.judged_to) > since - 2 * LATE:
            path = WINDOWS / f"{decision.window}.parquet"
            request_ids |= {row["request_id"] for row in files.read(path, WINDOW)}
    return request_ids


def _name(rows: pd.DataFrame) -> str:
    last = rows["time"].iloc[-1].strftime("%Y%m%dT%H%M%S") if len(rows) else "empty"
    request_ids = " ".join(sorted(set(rows["request_id"])))
    digest = files.text_digest(request_ids)
    return f"w-{last}-{digest[:8]}"


def _problem(num_requests: int, config: WindowConfig, report: Report, log: Log) -> str | None:
    """Why the window cannot be judged; None if it can."""
    if num_requests >= config.min_requests:
        if report.passed:
            return None
        first_problem = f" {log.problems[0]}" if log.problems else ""
        return f"Cannot tell: {report.reason}.{first_problem}"
    reason = "no request has come since the last window"
    if num_requests:
        reason = f"{num_requests} of {config.min_requests} requests have come since the last window"
    return f"Cannot tell: {'; '.join([reason, *log.problems])}."


def _checks(rows: pd.DataFrame, config: WindowConfig, now: datetime.datetime) -> list[Check]:
    if rows.empty:
        return [
            Check(
                name=NUM_REQUESTS,
                passed=False,
                observed="0",
                expected=f"at least {config.min_requests}",
                code=CheckCode.NUM_REQUESTS,
            )
        ]
    return quality.examine(describe(rows), _promises(config), "traffic").checks


def _promises(config: WindowConfig) -> list[Promise]:
    """What a log must be like to tell anything. Its shape is the contract's job (log_files)."""
    tolerance = config.clock_tolerance_minutes
    flood = config.max_same_question_share
    failures = {"column": "failed", "max_value": config.max_failed_share}
    return [
        Promise(
            NUM_REQUESTS,
            "ExpectTableRowCountToBeBetween",
            {"min_value": config.min_requests},
            code=CheckCode.NUM_REQUESTS,
        ),
        Promise(
            "request ids are unique",
            "ExpectColumnValuesToBeUnique",
            {"column": "request_id"},
            share=1 - config.max_duplicate_share,
        ),
        _member("status is known", "status", list(STATUSES)),
        _member("an answered request has an answer", "answered", [True]),
        _at_most("no row from the future, in minutes", "ahead_minutes", tolerance),
        _at_most("the clock never goes back, in minutes", "back_minutes", tolerance),
        _at_most("no gap in time, in hours", "gap_hours", config.max_gap_hours),
        Promise("share of failed requests", "ExpectColumnMeanToBeBetween", failures),
        _at_most("no question floods the window", "same_question_share", flood),
        _between("latency in milliseconds", "total_ms"),
        _between("cost", "cost"),
        _between("groundedness", "groundedness", 1.000001),
    ]


def _member(name: str, column: str, values: list[Any]) -> Promise:
    arguments = {"column": column, "value_set": values}
    return Promise(name, "ExpectColumnValuesToBeInSet", arguments)


def _at_most(name: str, column: str, limit: float) -> Promise:
    arguments = {"column": column, "max_value": limit}
    return Promise(name, "ExpectColumnMaxToBeBetween", arguments)


def _between(name: str, column: str, highest: float | None = None) -> Promise:
    """From 0 on, up to `highest` if it is given."""
    arguments: dict[str, Any] = {"column": column, "min_value": 0}
    if highest is not None:
        arguments["max_value"] = highest
    return Promise(name, "ExpectColumnValuesToBeBetween", arguments)
