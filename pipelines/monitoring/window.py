"""Knows the traffic log: which requests a window holds, each once and with its last feedback, and what is wrong with them.

Nothing is lost: a request that came late (logged after its window was judged) belongs to the next window, and a file that cannot be read
stays where it is and makes every verdict `cannot tell` until a person has looked at it.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config.monitor import WindowConfig
from pipelines.contracts.report import Check
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.errors import UserError
from pipelines.wording import normal

Time = datetime.datetime
COMPLAINT = ["request_id", "time", "release_id", "question", "answer", "page", "who", "thumb", "correction", "comment"]
FORGOTTEN = datetime.timedelta(days=90)  # after which a complaint waits for a review no longer; bounds what is read
LATE = datetime.timedelta(days=2)  # a request logged later than this after its window was judged is taken for a broken log's


@dataclass(frozen=True)
class Log:
    """What the log's files hold after a time. `back_minutes`: how far a row lies before one that was logged before it in its file."""

    requests: pd.DataFrame  # traffic.REQUESTS, with `back_minutes` and `ahead_minutes` (after now, or after its file was written)
    feedback: pd.DataFrame  # traffic.FEEDBACK
    problems: list[str]  # files that cannot be read or are of another schema


def read(folder: Path, since: Time | None, now: Time) -> Log:
    """Everything logged after `since`, less LATE. Files that hold older rows alone are not opened beyond their footer."""
    start = None if since is None else since - LATE
    problems: list[str] = []
    requests = [_ordered(table, path, now) for path, table in _tables(folder / "requests", REQUESTS, start, problems)]
    feedback = [table.to_pandas() for _, table in _tables(folder / "feedback", FEEDBACK, start, problems)]
    empty = REQUESTS.empty_table().to_pandas().assign(back_minutes=pd.Series(dtype=float), ahead_minutes=pd.Series(dtype=float))
    return Log(pd.concat(requests, ignore_index=True) if requests else empty, pd.concat(feedback, ignore_index=True) if feedback else FEEDBACK.empty_table().to_pandas(), problems)


def _tables(folder: Path, schema: pa.Schema, start: Time | None, problems: list[str]) -> Iterable[tuple[Path, pa.Table]]:
    for path in sorted(folder.glob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                if not file.schema_arrow.remove_metadata().equals(schema):
                    problems.append(f"{path}: is of another schema ({_differences(file.schema_arrow, schema)})")
                    continue
                if not _newer(file, start):
                    continue
                table = file.read()
        except (pa.ArrowException, OSError) as error:
            problems.append(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:160]})")
            continue
        broken = [field.name for field in schema if not field.nullable and table.column(field.name).null_count]
        if broken:
            problems.append(f"{path}: column {broken[0]} may not be null")
            continue
        yield path, table if start is None else table.filter(pc.greater(table.column("time"), pa.scalar(start, REQUESTS.field("time").type)))


def _newer(file: pq.ParquetFile, start: Time | None) -> bool:
    """Whether a file can hold rows after `start`, by its footer's statistics; without these, it may."""
    place = file.schema_arrow.get_field_index("time")
    columns = range(file.metadata.num_columns)
    leaf = next((column for column in columns if file.metadata.schema.column(column).path == "time"), place)
    groups = [file.metadata.row_group(number).column(leaf).statistics for number in range(file.metadata.num_row_groups)]
    return start is None or any(found is None or not found.has_min_max or found.max > start for found in groups)


def _differences(found: pa.Schema, schema: pa.Schema) -> str:
    names = [f"{name} is missing" for name in schema.names if name not in found.names] + [f"{name} is unknown" for name in found.names if name not in schema.names]
    types = [f"{field.name} is {found.field(field.name).type}, not {field.type}" for field in schema if field.name in found.names and not found.field(field.name).type.equals(field.type)]
    return ", ".join([*names, *types][:3]) or "another order or nullability of columns"


def _ordered(table: pa.Table, path: Path, now: Time) -> pd.DataFrame:
    rows: pd.DataFrame = table.to_pandas()
    latest = min(pd.Timestamp(now), pd.Timestamp(path.stat().st_mtime, unit="s", tz="UTC"))
    rows["back_minutes"] = (rows["time"].cummax() - rows["time"]).dt.total_seconds() / 60
    rows["ahead_minutes"] = (rows["time"] - latest).dt.total_seconds() / 60
    return rows


def newest_release(log: Log, num: int) -> str | None:
    """The release that answers: the most frequent among the last `num` requests. During a canary that is the greater share."""
    last = log.requests.sort_values("time", kind="stable")["release_id"].tail(num)
    return None if last.empty else str(last.mode()[0])


def unjudged(log: Log, release_id: str, judged: set[str], config: WindowConfig) -> pd.DataFrame:
    """The release's rows that no window has judged, oldest first, at most config.max_requests distinct requests; duplicates still in it."""
    rows = log.requests[(log.requests["release_id"] == release_id) & ~log.requests["request_id"].isin(judged)]
    rows = rows.sort_values(["time", "request_id"], kind="stable")
    if rows["request_id"].nunique() <= config.max_requests:
        return rows
    last = rows["request_id"].drop_duplicates().iloc[config.max_requests - 1]
    return rows[: int((rows["request_id"] == last).to_numpy().argmax()) + 1]


def table(rows: pd.DataFrame, log: Log) -> pd.DataFrame:
    """contracts.window rows: one a request, retrieval flattened, the last feedback joined."""
    once = rows.drop_duplicates("request_id", keep="first")
    last = log.feedback.sort_values("time", kind="stable").groupby("request_id").last() if len(log.feedback) else pd.DataFrame(columns=["thumb", "correction"])
    found = [list(items) for items in once["retrieved"]]
    flat = pd.DataFrame({
        "best_score": [items[0]["score"] if items else None for items in found], "score_gap": [items[0]["score"] - items[1]["score"] if len(items) > 1 else None for items in found],
        "num_retrieved": [len(items) for items in found], "top_page": [items[0]["uri"] if items else None for items in found], "num_guard_flags": [len(flags) for flags in once["guard_flags"]],
    }, index=once.index)  # fmt: skip
    joined = once.join(last[["thumb", "correction"]], on="request_id")
    kept = ["request_id", "release_id", "question", "status", "time", "answer", "refused", "groundedness", "num_prompt_tokens", "num_new_tokens", "total_ms", "cost", "thumb", "correction"]
    return pd.concat([joined[kept], flat], axis=1).reset_index(drop=True)


def described(rows: pd.DataFrame, now: Time) -> pd.DataFrame:
    """What the expectations look at, one row a logged row (`uri` names examples): times, questions and states as numbers."""
    worded = rows["question"].map(lambda text: normal(text) or text.strip())
    counts = worded.map(worded.value_counts())
    gaps = rows["time"].diff().dt.total_seconds().fillna(0.0) / 3600
    return pd.DataFrame({
        "uri": rows["request_id"], "request_id": rows["request_id"], "status": rows["status"], "characters": rows["question"].str.strip().str.len(), "same_question_share": counts / max(1, len(rows)),
        "failed": (rows["status"] == "failed").astype(float), "back_minutes": rows["back_minutes"], "ahead_minutes": rows["ahead_minutes"], "gap_hours": gaps,
        "total_ms": rows["total_ms"], "cost": rows["cost"], "groundedness": rows["groundedness"], "answered": (rows["status"] != "ok") | rows["answer"].notna(),
    })  # fmt: skip


def readable(log: Log) -> Check:
    """The check that no statistical promise can make: every file of the log could be read."""
    return Check(name="every file of the log can be read", passed=not log.problems, observed=f"{len(log.problems)} cannot", expected="all, in the log's schema", examples=log.problems[:3])


def arrow_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as Parquet takes them: None for what is missing, whole numbers whole."""
    whole = {"num_guard_flags", "num_retrieved", "num_prompt_tokens", "num_new_tokens", "thumb"}
    listed: list[dict[Any, Any]] = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return [{key: int(value) if key in whole and value is not None else value for key, value in row.items()} for row in listed]


def complaints(folder: Path, settled: set[str], now: Time) -> pd.DataFrame:
    """Requests with a thumb down or a correction in their last feedback that are not in `settled`, oldest first, with the best passage's page."""
    problems: list[str] = []
    start = now - FORGOTTEN
    feedback = [found.to_pandas() for _, found in _tables(folder / "feedback", FEEDBACK, start, problems)]
    if not feedback:
        return pd.DataFrame(columns=COMPLAINT)
    last = pd.concat(feedback, ignore_index=True).sort_values("time", kind="stable").groupby("request_id").last()
    last = last[((last["thumb"] < 0) | last["correction"].notna()) & ~last.index.isin(settled)]
    wanted = pa.array(last.index.tolist(), pa.string())
    rows = [found.filter(pc.is_in(found.column("request_id"), wanted)) for _, found in _tables(folder / "requests", REQUESTS, start, problems)]
    if problems:
        raise UserError("\n".join([*problems, "Look at these files and move them away: what they hold cannot be reviewed"]))
    asked = pd.concat([found.to_pandas() for found in rows] or [REQUESTS.empty_table().to_pandas()], ignore_index=True).drop_duplicates("request_id")
    asked["page"] = [items[0]["uri"] if len(items) else None for items in asked["retrieved"]]
    joined = asked[["request_id", "time", "release_id", "question", "answer", "page"]].join(last[["who", "thumb", "correction", "comment"]], on="request_id")
    ordered: pd.DataFrame = joined.sort_values(["time", "request_id"], kind="stable").reset_index(drop=True)
    return ordered
