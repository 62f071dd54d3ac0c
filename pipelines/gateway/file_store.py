"""Files of tenants, in the gateway's database: what batches are made of, and their results.

An upload is stored in parts, so that it is never in memory whole. The file of a result has no
content of its own: it consists of the lines of its batch, which are stored once.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from sqlalchemy import ColumnElement, Connection, Engine, Row, delete, func, insert, select

from pipelines.config.gateway import Batches
from pipelines.gateway import database
from pipelines.gateway.api_errors import InvalidRequest, NotFound, TooLarge, TooMany
from pipelines.gateway.database import BATCH_LINES, FILE_PARTS, FILES
from pipelines.gateway.keys import Key
from pipelines.gateway.pages import Page

PREFIX = "file-"
UPLOAD = "batch"  # purposes, as OpenAI names them
RESULT = "batch_output"
PART_BYTES = 256 * 1024
LINES_AT_ONCE = 50  # of a result that are read
DAY_SECONDS = 86_400
MAX_NAME = 255


class FileStore:
    """The files of all tenants; none reaches those of another."""

    def __init__(self, engine: Engine, config: Batches):
        self._engine = engine
        self._config = config

    def create(self, key: Key, name: str, source: BinaryIO) -> Row[Any]:
        """Store an upload. Raises ApiError if it is empty or too long, or if there are too many."""
        now = time.time()
        row: dict[str, Any] = {
            "id": PREFIX + uuid.uuid4().hex,
            "tenant": key.tenant,
            "name": _clean(name),
            "purpose": UPLOAD,
            "created": now,
            "expires": now + self._config.keep_days * DAY_SECONDS,
        }
        with self._engine.begin() as connection:
            database.lock_tenant(connection, key.tenant)
            self._check_count(connection, key.tenant)
            row["num_bytes"] = self._write_parts(connection, str(row["id"]), source)
            connection.execute(insert(FILES).values(row))
        return self.find(key.tenant, str(row["id"]))

    def find(self, tenant: str, file_id: str) -> Row[Any]:
        """A file's row. Raises NotFound."""
        with database.reading(self._engine) as connection:
            row = connection.execute(select(FILES).where(_is_own(tenant, file_id))).one_or_none()
        if row is None:
            raise _not_found(file_id)
        return row

    def read_page(self, tenant: str, purpose: str | None, page: Page) -> list[Row[Any]]:
        """The tenant's files of this purpose, one more than the page has room for."""
        after = self.find(tenant, page.after) if page.after else None
        query = select(FILES).where(FILES.c.tenant == tenant)
        query = query.where(FILES.c.expires > time.time())
        if purpose is not None:
            query = query.where(FILES.c.purpose == purpose)
        with database.reading(self._engine) as connection:
            return list(connection.execute(page.apply(query, FILES, after)).all())

    def read(self, row: Row[Any]) -> Iterator[bytes]:
        """The content, in pieces."""
        if row.batch_id is None:
            yield from self._read_parts(row.id)
        else:
            yield from self._read_lines(row.batch_id, row.line_status)

    def delete(self, tenant: str, file_id: str) -> None:
        """Remove a file with its content. Raises NotFound."""
        row = self.find(tenant, file_id)
        with self._engine.begin() as connection:
            _remove(connection, row)

    def remove_expired(self) -> None:
        with database.reading(self._engine) as connection:
            rows = connection.execute(select(FILES).where(FILES.c.expires <= time.time())).all()
        for row in rows:
            with self._engine.begin() as connection:
                _remove(connection, row)

    def _check_count(self, connection: Connection, tenant: str) -> None:
        query = select(func.count()).where(FILES.c.tenant == tenant, FILES.c.purpose == UPLOAD)
        if int(connection.scalar(query) or 0) >= self._config.max_files:
            raise TooMany(
                f"this tenant has {self._config.max_files} files, which is the limit "
                "(gateway.batches.max_files); delete one",
                code="max_files",
                headers={"Retry-After": str(DAY_SECONDS)},
            )

    def _write_parts(self, connection: Connection, file_id: str, source: BinaryIO) -> int:
        """Returns how many bytes there are."""
        num_bytes = 0
        number = 0
        while part := source.read(PART_BYTES):
            num_bytes += len(part)
            if num_bytes > self._config.max_file_bytes:
                raise too_large(self._config)
            values = {"file_id": file_id, "number": number, "content": part}
            connection.execute(insert(FILE_PARTS).values(values))
            number += 1
        if not num_bytes:
            raise InvalidRequest("the file is empty", param="file", code="empty_file")
        return num_bytes

    def _read_parts(self, file_id: str) -> Iterator[bytes]:
        number = 0
        while True:
            is_meant = (FILE_PARTS.c.file_id == file_id) & (FILE_PARTS.c.number == number)
            with database.reading(self._engine) as connection:
                part = connection.scalar(select(FILE_PARTS.c.content).where(is_meant))
            if part is None:
                return
            yield bytes(part)
            number += 1

    def _read_lines(self, batch_id: str, status: str) -> Iterator[bytes]:
        """The results of a batch's lines that ended so, in the order of the lines."""
        last = -1
        while True:
            query = (
                select(BATCH_LINES.c.number, BATCH_LINES.c.result)
                .where(is_result(batch_id, status), BATCH_LINES.c.number > last)
                .order_by(BATCH_LINES.c.number)
                .limit(LINES_AT_ONCE)
            )
            with database.reading(self._engine) as connection:
                rows = connection.execute(query).all()
            if not rows:
                return
            yield "".join(f"{row.result}\n" for row in rows).encode()
            last = rows[-1].number


def is_result(batch_id: str, status: str) -> ColumnElement[bool]:
    """Lines of a batch that ended so."""
    return (BATCH_LINES.c.batch_id == batch_id) & (BATCH_LINES.c.status == status)


def too_large(config: Batches) -> TooLarge:
    return TooLarge(
        f"the file is longer than {config.max_file_bytes} bytes (gateway.batches.max_file_bytes)"
    )


def _remove(connection: Connection, row: Row[Any]) -> None:
    connection.execute(delete(FILES).where(FILES.c.id == row.id))
    if row.batch_id is None:
        connection.execute(delete(FILE_PARTS).where(FILE_PARTS.c.file_id == row.id))
    else:
        connection.execute(delete(BATCH_LINES).where(is_result(row.batch_id, row.line_status)))


def _is_own(tenant: str, file_id: str) -> ColumnElement[bool]:
    """No file is there after its time, even if it has not been removed yet."""
    is_meant = (FILES.c.id == database.storable(file_id)) & (FILES.c.tenant == tenant)
    return is_meant & (FILES.c.expires > time.time())


def _not_found(file_id: str) -> NotFound:
    return NotFound(
        f"there is no file {file_id!r} of this tenant", param="file_id", code="file_not_found"
    )


def _clean(name: str) -> str:
    """A file's name as it can be stored and shown."""
    text = "".join(letter for letter in name if letter.isprintable())
    with suppress(UnicodeEncodeError):
        return text.encode()[:MAX_NAME].decode(errors="ignore") or "file"
    return "file"
