"""Ends batches: when every line has ended, when their time is over, when they are cancelled."""

import time
import uuid
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update

from pipelines.config.gateway import Batches
from pipelines.gateway import batch_results, batch_store, database, file_store
from pipelines.gateway.batch_store import LINE_COMPLETED, LINE_FAILED, UNDER_WAY, WAITING
from pipelines.gateway.database import BATCH_GROUPS, BATCH_LINES, BATCHES, FILES
from pipelines.gateway.file_store import DAY_SECONDS, RESULT

LAST = {
    batch_store.IN_PROGRESS: batch_store.COMPLETED,
    batch_store.FINALIZING: batch_store.EXPIRED,
    batch_store.CANCELLING: batch_store.CANCELLED,
}
# Column of the batch, and the name of the file, for lines that ended so.
FILES_OF = {
    LINE_COMPLETED: ("output_file_id", "output"),
    LINE_FAILED: ("error_file_id", "errors"),
}
LINES_AT_ONCE = 200  # that end because the time is over


class BatchEndings:
    """Looks whether batches have ended."""

    def __init__(self, engine: Engine, config: Batches):
        self._engine = engine
        self._keep_seconds = config.keep_days * DAY_SECONDS

    def look(self, batch: Row[Any]) -> None:
        """Do what is due for an open batch whose input was read."""
        if batch.status == batch_store.IN_PROGRESS and batch.expires <= time.time():
            change = batch_store.change_from(batch.id, batch.status)
            with self._engine.begin() as connection:
                connection.execute(change.values(status=batch_store.FINALIZING))
            return
        if batch.status == batch_store.FINALIZING:
            self._expire_lines(batch)
        elif batch.status == batch_store.CANCELLING:
            with self._engine.begin() as connection:
                connection.execute(delete(BATCH_LINES).where(_is_not_asked(batch)))
        self._end(batch)

    def remove_old(self) -> None:
        """Forget batches that ended long ago, with their results."""
        is_old = BATCHES.c.ended < time.time() - self._keep_seconds
        with database.reading(self._engine) as connection:
            ids = connection.scalars(select(BATCHES.c.id).where(is_old)).all()
        for batch_id in ids:
            with self._engine.begin() as connection:
                connection.execute(delete(FILES).where(FILES.c.batch_id == batch_id))
                connection.execute(delete(BATCH_LINES).where(BATCH_LINES.c.batch_id == batch_id))
                connection.execute(delete(BATCH_GROUPS).where(BATCH_GROUPS.c.batch_id == batch_id))
                connection.execute(delete(BATCHES).where(BATCHES.c.id == batch_id))

    def _expire_lines(self, batch: Row[Any]) -> None:
        """End lines that were not asked in time; those under way may still be answered."""
        query = select(BATCH_LINES.c.number, BATCH_LINES.c.request).where(_is_not_asked(batch))
        count = BATCHES.c.num_failed
        while True:
            with self._engine.begin() as connection:
                lines = connection.execute(query.limit(LINES_AT_ONCE)).all()
                for line in lines:
                    name = batch_results.custom_id(line.request)
                    result = batch_results.expiry(name, line.number)
                    is_line = _is_not_asked(batch) & (BATCH_LINES.c.number == line.number)
                    change = update(BATCH_LINES).where(is_line)
                    change = change.values(status=LINE_FAILED, result=result, request="")
                    if connection.execute(change).rowcount:
                        more = update(BATCHES).where(BATCHES.c.id == batch.id)
                        connection.execute(more.values(num_failed=count + 1))
            if not lines:
                return

    def _end(self, batch: Row[Any]) -> None:
        """End a batch of which no line is open, and give its results their files."""
        is_open = BATCH_LINES.c.status.in_((WAITING, UNDER_WAY))
        query = select(func.count()).where(BATCH_LINES.c.batch_id == batch.id, is_open)
        now = time.time()
        with self._engine.begin() as connection:
            if connection.scalar(query):
                return
            values: dict[str, Any] = {"status": LAST[batch.status], "ended": now}
            rows: list[dict[str, Any]] = []
            for line_status, (column, name) in FILES_OF.items():
                row = self._file(connection, batch, line_status, name)
                if row["num_bytes"]:
                    values[column] = row["id"]
                    rows.append({**row, "created": now, "expires": now + self._keep_seconds})
            change = batch_store.change_from(batch.id, batch.status).values(values)
            if connection.execute(change).rowcount and rows:
                connection.execute(insert(FILES), rows)

    def _file(
        self, connection: Connection, batch: Row[Any], line_status: str, name: str
    ) -> dict[str, Any]:
        """The row of a file that consists of the lines that ended so."""
        size = func.coalesce(func.sum(func.length(BATCH_LINES.c.result) + 1), 0)
        query = select(size).where(file_store.is_result(batch.id, line_status))
        return {
            "id": file_store.PREFIX + uuid.uuid4().hex,
            "tenant": batch.tenant,
            "name": f"{batch.id}_{name}.jsonl",
            "purpose": RESULT,
            "num_bytes": int(connection.scalar(query) or 0),
            "batch_id": batch.id,
            "line_status": line_status,
        }


def _is_not_asked(batch: Row[Any]) -> Any:
    """Lines of a batch that nobody works on."""
    return (BATCH_LINES.c.batch_id == batch.id) & batch_store.is_free(float("inf"), time.time())
