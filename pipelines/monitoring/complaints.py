"""Feedback that waits for a review: thumbs down and corrections that nobody has decided on."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.errors import UserError
from pipelines.monitoring.log_files import Folder

REQUEST_COLUMNS = ["request_id", "time", "release_id", "question", "answer", "page", "pages"]
FEEDBACK_COLUMNS = ["who", "thumb", "correction", "comment"]
# A complaint waits for a review no longer than this; bounds what is read.
FORGOTTEN_AFTER = datetime.timedelta(days=90)


def read(folder: Path, reviewed_ids: set[str], now: datetime.datetime) -> pd.DataFrame:
    """Requests whose last feedback is a thumb down or a correction, oldest first.

    `reviewed_ids`: requests that are left out. `page`: the uri of the best passage; `pages`: of
    all. Raises UserError if a file of the log cannot be read.
    """
    problems: list[str] = []
    start = now - FORGOTTEN_AFTER
    feedback = Folder(folder / "feedback", FEEDBACK, start, problems).frames()
    if not feedback:
        return pd.DataFrame(columns=[*REQUEST_COLUMNS, *FEEDBACK_COLUMNS])
    complaints = _open_complaints(pd.concat(feedback, ignore_index=True), reviewed_ids)
    requests = _requests(Folder(folder / "requests", REQUESTS, start, problems), complaints)
    if problems:
        remedy = "Look at these files and move them away: what they hold cannot be reviewed"
        raise UserError("\n".join([*problems, remedy]))
    rows = requests[REQUEST_COLUMNS].join(complaints[FEEDBACK_COLUMNS], on="request_id")
    oldest_first: pd.DataFrame = rows.sort_values(["time", "request_id"], kind="stable")
    return oldest_first.reset_index(drop=True)


def _open_complaints(feedback: pd.DataFrame, reviewed_ids: set[str]) -> pd.DataFrame:
    """The last feedback of each request, if it complains; the index is the request id."""
    last = feedback.sort_values("time", kind="stable").groupby("request_id").last()
    complains = (last["thumb"] < 0) | last["correction"].notna()
    complaints: pd.DataFrame = last[complains & ~last.index.isin(reviewed_ids)]
    return complaints


def _requests(folder: Folder, complaints: pd.DataFrame) -> pd.DataFrame:
    """The requests that the complaints are about, each once, with their best passage's page."""
    request_ids = pa.array(complaints.index.tolist(), pa.string())
    tables = [REQUESTS.empty_table()]
    for _, table in folder.tables():
        is_complaint = pc.is_in(table.column("request_id"), request_ids)
        tables.append(table.filter(is_complaint).replace_schema_metadata())
    rows: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    rows["pages"] = rows["retrieved"].map(_pages)
    rows["page"] = rows["retrieved"].map(_best_page)
    return rows.drop_duplicates("request_id")


def _pages(passages: Sequence[dict[str, Any]]) -> list[str]:
    return [str(passage["uri"]) for passage in passages]


def _best_page(passages: Sequence[dict[str, Any]]) -> str | None:
    return str(passages[0]["uri"]) if len(passages) else None
