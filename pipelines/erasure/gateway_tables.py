"""The gateway's database: requests, batches, files, keys and accounts."""

import os
from collections.abc import Iterator
from functools import partial

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, func, or_, select, update

from pipelines.erasure.finding import Finding
from pipelines.erasure.subject import Subject, json_or_text
from pipelines.errors import UserError
from pipelines.gateway import batch_store, database
from pipelines.gateway.database import (
    ACCOUNTS,
    ALERTS,
    BATCH_GROUPS,
    BATCH_LINES,
    BATCHES,
    DECISIONS,
    FEEDBACK,
    FILE_PARTS,
    FILES,
    KEY_GROUPS,
    KEYS,
    REPEATS,
    REQUESTS,
    TOKEN_OWNERS,
)

# Tables whose rows belong to a row of another one, by the name of their column.
OF_REQUEST = ((REPEATS, "request_id"), (FEEDBACK, "request_id"), (DECISIONS, "request_id"))
OF_KEY = ((KEY_GROUPS, "key_id"), (TOKEN_OWNERS, "id"), (KEYS, "id"))
OF_BATCH = ((BATCH_LINES, "batch_id"), (BATCH_GROUPS, "batch_id"), (BATCHES, "id"))
OF_FILE = ((FILE_PARTS, "file_id"), (FILES, "id"))
IDS_AT_ONCE = 500


def find(subject: Subject) -> Iterator[Finding]:
    """Rows of the database that is in use, if there is one.

    Raises UserError if a batch that is meant is still under way, and Unreachable.
    """
    engine = _engine()
    if engine is None:
        return
    try:
        yield from _find_in(engine, subject)
    finally:
        engine.dispose()


def request_ids(subject: Subject) -> set[str]:
    """Ids of a tenant's requests, by which the traffic log and the windows know them."""
    engine = _engine() if subject.kind == "tenant" else None
    if engine is None:
        return set()
    with database.reading(engine) as connection:
        query = select(REQUESTS.c.id).where(REQUESTS.c.tenant == subject.name)
        ids = set(connection.scalars(query))
    engine.dispose()
    return ids


def _engine() -> Engine | None:
    """The database; None if there is none, rather than a new one."""
    is_named = database.VARIABLE in os.environ
    if not is_named and not (database.default_folder() / "gateway.sqlite").exists():
        return None
    return database.connect()


def _find_in(engine: Engine, subject: Subject) -> Iterator[Finding]:
    with database.reading(engine) as connection:
        batch_ids = _batches_of(connection, subject)
        _demand_ended(connection, batch_ids)
        file_ids = _files_of(connection, subject, batch_ids)
        key_ids = _keys_of(connection, subject)
        requests = _requests_of(connection, subject)
    if batch_ids:
        remove = partial(_remove, engine, OF_BATCH, batch_ids)
        yield Finding("gateway, batches", len(batch_ids), "batches", remove)
    if file_ids:
        remove = partial(_remove, engine, OF_FILE, file_ids)
        yield Finding("gateway, files", len(file_ids), "files", remove)
    if requests and subject.kind == "tenant":
        remove = partial(_remove, engine, (*OF_REQUEST, (REQUESTS, "id")), requests)
        yield Finding("gateway, requests", len(requests), "rows", remove)
    elif requests:
        remove = partial(_remove_texts, engine, requests)
        yield Finding("gateway, conversations", len(requests), "texts", remove)
    if key_ids:
        remove = partial(_remove, engine, OF_KEY, key_ids)
        yield Finding("gateway, keys and sign-ins", len(key_ids), "rows", remove)
    if subject.kind == "tenant":
        yield from _find_accounts(engine, subject, key_ids)


def _batches_of(connection: Connection, subject: Subject) -> list[str]:
    if subject.kind == "tenant":
        query = select(BATCHES.c.id).where(BATCHES.c.tenant == subject.name)
        return list(connection.scalars(query))
    lines = select(BATCH_LINES.c.batch_id, BATCH_LINES.c.request, BATCH_LINES.c.result)
    batches = select(BATCHES.c.id, BATCHES.c.labels, BATCHES.c.problems)
    ids: dict[str, None] = {}
    for query in (lines, batches):
        for batch_id, *texts in connection.execute(query):
            if subject.is_in([json_or_text(text) for text in texts if text]):
                ids[batch_id] = None
    return list(ids)


def _demand_ended(connection: Connection, batch_ids: list[str]) -> None:
    for ids in _portions(batch_ids):
        is_open = BATCHES.c.id.in_(ids) & BATCHES.c.status.in_(batch_store.OPEN)
        batch_id = connection.scalar(select(BATCHES.c.id).where(is_open))
        if batch_id:
            raise UserError(
                f"the batch {batch_id} is under way and would be answered on: cancel it "
                f"(POST /v1/batches/{batch_id}/cancel), wait until it has ended, and run the same "
                "command again"
            )


def _files_of(connection: Connection, subject: Subject, batch_ids: list[str]) -> list[str]:
    """Files of the tenant, of these batches, and those whose name or content is meant."""
    query = select(FILES.c.id, FILES.c.tenant, FILES.c.name, FILES.c.batch_id)
    ids = []
    for file_id, tenant, name, batch_id in connection.execute(query).all():
        if subject.kind == "tenant":
            is_meant = tenant == subject.name
        else:
            content = _content(connection, file_id)
            is_meant = subject.is_in([name, *map(json_or_text, content.splitlines())])
        if is_meant or batch_id in batch_ids:
            ids.append(file_id)
    return ids


def _content(connection: Connection, file_id: str) -> str:
    parts = select(FILE_PARTS.c.content).where(FILE_PARTS.c.file_id == file_id)
    content = b"".join(connection.scalars(parts.order_by(FILE_PARTS.c.number)))
    return content.decode("utf-8", "replace")


def _keys_of(connection: Connection, subject: Subject) -> list[str]:
    """Keys of the tenant; sign-ins of the person, by the name that the issuer has for them."""
    if subject.kind == "tenant":
        return list(connection.scalars(select(KEYS.c.id).where(KEYS.c.tenant == subject.name)))
    owners = connection.execute(select(TOKEN_OWNERS.c.id, TOKEN_OWNERS.c.subject))
    return [owner_id for owner_id, name in owners if subject.is_in_text(name)]


def _requests_of(connection: Connection, subject: Subject) -> list[str]:
    if subject.kind == "tenant":
        query = select(REQUESTS.c.id).where(REQUESTS.c.tenant == subject.name)
        return list(connection.scalars(query))
    has_text = or_(REQUESTS.c.follow_up.is_not(None), REQUESTS.c.standalone.is_not(None))
    rows = select(REQUESTS.c.id, REQUESTS.c.follow_up, REQUESTS.c.standalone).where(has_text)
    return [row_id for row_id, *texts in connection.execute(rows) if subject.is_in(texts)]


def _find_accounts(engine: Engine, subject: Subject, key_ids: list[str]) -> Iterator[Finding]:
    owners = [f"tenant {subject.name}", *(f"key {key_id}" for key_id in key_ids)]
    count = 0
    with database.reading(engine) as connection:
        for table in (ACCOUNTS, ALERTS):
            for names in _portions(owners):
                query = select(func.count()).select_from(table).where(table.c.owner.in_(names))
                count += connection.scalar(query) or 0
    if count:
        remove = partial(_remove, engine, ((ACCOUNTS, "owner"), (ALERTS, "owner")), owners)
        yield Finding("gateway, accounts", count, "rows", remove)


def _remove(engine: Engine, tables: tuple[tuple[Table, str], ...], ids: list[str]) -> None:
    """Remove these rows and what belongs to them, in one transaction."""
    with engine.begin() as connection:
        for table, column in tables:
            for portion in _portions(ids):
                connection.execute(delete(table).where(table.c[column].in_(portion)))
    _empty_free_pages(engine)


def _remove_texts(engine: Engine, ids: list[str]) -> None:
    """Remove what was written; the rows stay, for they count what was spent."""
    with engine.begin() as connection:
        for portion in _portions(ids):
            is_meant: ColumnElement[bool] = REQUESTS.c.id.in_(portion)
            connection.execute(
                update(REQUESTS).where(is_meant).values(follow_up=None, standalone=None)
            )
    _empty_free_pages(engine)


def _empty_free_pages(engine: Engine) -> None:
    """SQLite keeps removed rows in its file until it is written anew; PostgreSQL cleans itself."""
    if engine.dialect.name == "sqlite":
        database.compact(engine)


def _portions(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield ids[start : start + IDS_AT_ONCE]
