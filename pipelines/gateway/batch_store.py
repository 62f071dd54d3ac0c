"""Batches in the gateway's database, line by line, so that a killed gateway loses nothing.

A gateway that works on a line owns it for LEASE_SECONDS and renews that while it lives. A line
whose owner is gone is free again: it may be asked twice, and its result is stored once, since only
the owner of the moment can store it. Gateways with one database need the same time of day.
"""

import json
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    and_,
    func,
    insert,
    or_,
    select,
    update,
)

from pipelines.config.gateway import Batches
from pipelines.gateway import database
from pipelines.gateway.api_errors import AlreadyThere, NotFound, TooMany
from pipelines.gateway.batch_input import Problem
from pipelines.gateway.database import BATCH_GROUPS, BATCH_LINES, BATCHES
from pipelines.gateway.keys import Key
from pipelines.gateway.pages import Page
from pipelines.runtime.readers import Groups, to_groups

PREFIX = "batch_"
WINDOW_SECONDS = 86_400  # the only completion window that OpenAI has
LEASE_SECONDS = 20.0
RETRY_SECONDS = 60  # after which a batch may have ended
ROWS_AT_ONCE = 500  # that are inserted

# Of a batch, as OpenAI names them. `finalizing`: its time is over, and its lines end.
VALIDATING = "validating"
FAILED = "failed"
IN_PROGRESS = "in_progress"
FINALIZING = "finalizing"
COMPLETED = "completed"
EXPIRED = "expired"
CANCELLING = "cancelling"
CANCELLED = "cancelled"
OPEN = (VALIDATING, IN_PROGRESS, FINALIZING, CANCELLING)

# Of a line.
WAITING = "waiting"
UNDER_WAY = "under way"
LINE_COMPLETED = "completed"
LINE_FAILED = "failed"


@dataclass(frozen=True)
class Claim:
    """A line that a gateway works on. `request` is what batch_input.py made of it."""

    batch_id: str
    number: int
    request: str
    request_id: str  # of this try
    num_tries: int  # that failed before
    endpoint: str
    tenant: str
    key_id: str


class BatchStore:
    """The batches of all tenants. `owner` names this gateway."""

    def __init__(self, engine: Engine, config: Batches):
        self._engine = engine
        self._config = config
        self._owner = uuid.uuid4().hex

    def create(self, key: Key, values: dict[str, Any]) -> Row[Any]:
        """A new batch that waits for its input to be read. Raises TooMany."""
        now = time.time()
        row: dict[str, Any] = {
            "id": PREFIX + uuid.uuid4().hex,
            "tenant": key.tenant,
            "key_id": key.id,
            "status": VALIDATING,
            "created": now,
            "expires": now + WINDOW_SECONDS,
            "num_lines": 0,
            "num_completed": 0,
            "num_failed": 0,
            "last_start": 0.0,
            **values,
        }
        is_open = (BATCHES.c.tenant == key.tenant) & BATCHES.c.status.in_(OPEN)
        with self._engine.begin() as connection:
            database.lock_tenant(connection, key.tenant)
            count = connection.scalar(select(func.count()).select_from(BATCHES).where(is_open))
            if int(count or 0) >= self._config.max_open:
                raise TooMany(
                    f"this tenant has {self._config.max_open} open batches, which is the limit "
                    "(gateway.batches.max_open)",
                    code="max_open",
                    headers={"Retry-After": str(RETRY_SECONDS)},
                )
            connection.execute(insert(BATCHES).values(row))
        return self.find(key.tenant, str(row["id"]))

    def find(self, tenant: str, batch_id: str) -> Row[Any]:
        """A batch's row. Raises NotFound."""
        is_own = (BATCHES.c.id == database.storable(batch_id)) & (BATCHES.c.tenant == tenant)
        with database.reading(self._engine) as connection:
            row = connection.execute(select(BATCHES).where(is_own)).one_or_none()
        if row is None:
            raise NotFound(
                f"there is no batch {batch_id!r} of this tenant",
                param="batch_id",
                code="batch_not_found",
            )
        return row

    def read_page(self, tenant: str, page: Page) -> list[Row[Any]]:
        """The tenant's batches, one more than the page has room for."""
        after = self.find(tenant, page.after) if page.after else None
        query = page.apply(select(BATCHES).where(BATCHES.c.tenant == tenant), BATCHES, after)
        with database.reading(self._engine) as connection:
            return list(connection.execute(query).all())

    def cancel(self, tenant: str, batch_id: str) -> Row[Any]:
        """Start no more of its lines. Raises NotFound, and AlreadyThere if it has ended."""
        self.find(tenant, batch_id)
        self.stop(batch_id)
        row = self.find(tenant, batch_id)
        if row.status not in (CANCELLING, CANCELLED):
            raise AlreadyThere(f"the batch is {row.status} already", code="batch_ended")
        return row

    def stop(self, batch_id: str, problem: Problem | None = None) -> None:
        """Cancel an open batch, for a reason that its owner is told."""
        values: dict[str, Any] = {"status": CANCELLING, "cancelling": time.time()}
        if problem is not None:
            values["problems"] = json.dumps([asdict(problem)])
        is_open = BATCHES.c.status.in_((VALIDATING, IN_PROGRESS))
        change = update(BATCHES).where(BATCHES.c.id == batch_id, is_open).values(values)
        with self._engine.begin() as connection:
            connection.execute(change)

    def read_open(self) -> list[Row[Any]]:
        """Batches that have not ended, oldest first."""
        query = select(BATCHES).where(BATCHES.c.status.in_(OPEN)).order_by(BATCHES.c.created)
        with database.reading(self._engine) as connection:
            return list(connection.execute(query).all())

    def start(self, batch_id: str, requests: list[str]) -> None:
        """Store the lines of a batch whose input was read; all of them or none."""
        values = {"status": IN_PROGRESS, "started": time.time(), "num_lines": len(requests)}
        change = change_from(batch_id, VALIDATING).values(values)
        new_line = {"batch_id": batch_id, "status": WAITING, "not_before": 0.0, "num_tries": 0}
        with self._engine.begin() as connection:
            if not connection.execute(change).rowcount:
                return  # another gateway was faster, or it was cancelled
            for start in range(0, len(requests), ROWS_AT_ONCE):
                rows: list[dict[str, Any]] = []
                for number in range(start, min(start + ROWS_AT_ONCE, len(requests))):
                    rows.append({**new_line, "number": number, "request": requests[number]})
                connection.execute(insert(BATCH_LINES), rows)

    def fail(self, batch_id: str, problems: list[Problem]) -> None:
        """End a batch of whose input nothing can be worked on."""
        text = json.dumps([asdict(problem) for problem in problems])
        values = {"status": FAILED, "ended": time.time(), "problems": text}
        with self._engine.begin() as connection:
            connection.execute(change_from(batch_id, VALIDATING).values(values))

    def claim(self) -> Claim | None:
        """The next free line, of the batch that has waited longest for its turn."""
        now = time.time()
        batch = self._next_batch(now)
        if batch is None:
            return None
        with database.reading(self._engine) as connection:
            lines = select(BATCH_LINES).where(BATCH_LINES.c.batch_id == batch.id, is_free(now, now))
            line = connection.execute(lines.order_by(BATCH_LINES.c.number).limit(1)).one_or_none()
        if line is None:
            return None
        request_id = uuid.uuid4().hex
        return self._take(batch, line, request_id) if self._own(line, request_id, now) else None

    def has_lines(self) -> bool:
        """Whether a line is free."""
        return self._next_batch(time.time()) is not None

    def _next_batch(self, now: float) -> Row[Any] | None:
        is_running = (BATCHES.c.status == IN_PROGRESS) & (BATCHES.c.expires > now)
        line = select(BATCH_LINES.c.number).where(
            BATCH_LINES.c.batch_id == BATCHES.c.id, is_free(now, now)
        )
        queue = select(BATCHES).where(is_running, line.exists()).order_by(BATCHES.c.last_start)
        with database.reading(self._engine) as connection:
            return connection.execute(queue.limit(1)).one_or_none()

    def _own(self, line: Row[Any], request_id: str, now: float) -> bool:
        """Returns whether the line was still free, and its batch running."""
        values = {
            "status": UNDER_WAY,
            "owner": self._owner,
            "owned_until": now + LEASE_SECONDS,
            "request_id": request_id,
        }
        is_running = select(BATCHES.c.id).where(
            BATCHES.c.id == line.batch_id, BATCHES.c.status == IN_PROGRESS
        )
        change = update(BATCH_LINES).where(
            _is_line(line.batch_id, line.number), is_free(now, now), is_running.exists()
        )
        turn = update(BATCHES).where(BATCHES.c.id == line.batch_id).values(last_start=now)
        with self._engine.begin() as connection:
            if not connection.execute(change.values(values)).rowcount:
                return False
            connection.execute(turn)
        return True

    def _take(self, batch: Row[Any], line: Row[Any], request_id: str) -> Claim:
        return Claim(
            batch_id=batch.id,
            number=line.number,
            request=line.request,
            request_id=request_id,
            num_tries=line.num_tries,
            endpoint=batch.endpoint,
            tenant=batch.tenant,
            key_id=batch.key_id,
        )

    def record_groups(self, batch_id: str, groups: Groups) -> None:
        """Say that lines are answered to a member of these groups, before they are."""
        for name in groups:
            with self._engine.begin() as connection:
                row: dict[str, object] = {"batch_id": batch_id, "name": name}
                database.insert_if_new(connection, BATCH_GROUPS, row)

    def read_groups(self, batch_id: str) -> Groups:
        """Groups to all of which a reader of the results must belong."""
        query = select(BATCH_GROUPS.c.name).where(BATCH_GROUPS.c.batch_id == batch_id)
        with database.reading(self._engine) as connection:
            return to_groups(connection.scalars(query))

    def renew(self, request_ids: list[str]) -> None:
        """Say that this gateway still works on these tries."""
        is_own = (BATCH_LINES.c.owner == self._owner) & (BATCH_LINES.c.status == UNDER_WAY)
        is_own &= BATCH_LINES.c.request_id.in_(request_ids)
        change = update(BATCH_LINES).where(is_own).values(owned_until=time.time() + LEASE_SECONDS)
        with self._engine.begin() as connection:
            connection.execute(change)

    def finish(self, claim: Claim, status: str, result: str) -> bool:
        """Store a line's result in exchange for what was asked.

        Returns whether it was still this gateway's to store.
        """
        counter = BATCHES.c.num_completed if status == LINE_COMPLETED else BATCHES.c.num_failed
        count = update(BATCHES).where(BATCHES.c.id == claim.batch_id)
        values = {"status": status, "result": result, "request": ""}
        change = update(BATCH_LINES).where(self._is_claimed(claim)).values(values)
        with self._engine.begin() as connection:
            if not connection.execute(change).rowcount:
                return False
            connection.execute(count.values({counter.name: counter + 1}))
        return True

    def put_back(self, claim: Claim, seconds: float, *, has_failed: bool) -> None:
        """Let a line be asked again, after so many seconds."""
        values = {
            "status": WAITING,
            "not_before": time.time() + seconds,
            "num_tries": claim.num_tries + int(has_failed),
        }
        change = update(BATCH_LINES).where(self._is_claimed(claim)).values(values)
        with self._engine.begin() as connection:
            connection.execute(change)

    def _is_claimed(self, claim: Claim) -> ColumnElement[bool]:
        return and_(
            _is_line(claim.batch_id, claim.number),
            BATCH_LINES.c.status == UNDER_WAY,
            BATCH_LINES.c.owner == self._owner,
            BATCH_LINES.c.request_id == claim.request_id,
        )


def change_from(batch_id: str, status: str) -> Any:
    """An update of a batch that is still in this status."""
    return update(BATCHES).where(BATCHES.c.id == batch_id, BATCHES.c.status == status)


def _is_line(batch_id: str, number: int) -> ColumnElement[bool]:
    return (BATCH_LINES.c.batch_id == batch_id) & (BATCH_LINES.c.number == number)


def is_free(due: float, now: float) -> ColumnElement[bool]:
    """Whether a line waits, not beyond the time `due`, or its owner is gone."""
    is_due = (BATCH_LINES.c.status == WAITING) & (BATCH_LINES.c.not_before <= due)
    is_lost = (BATCH_LINES.c.status == UNDER_WAY) & (BATCH_LINES.c.owned_until < now)
    return or_(is_due, is_lost)
