"""Ends the requests that a killed gateway has left under way, at what the traffic log says of them.

Their reserve would otherwise count against the budget until the month ends. No request is under way
longer than the assistant may take for an answer and a client for its last piece; one that is has
lost its gateway.
"""

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Row, select
from sqlalchemy.exc import SQLAlchemyError

from pipelines.config.gateway import GatewayConfig
from pipelines.config.serve import Prices
from pipelines.errors import UserError
from pipelines.gateway import accounts, database
from pipelines.gateway.accounts import Accounts, Order, Outcome, Tokens
from pipelines.gateway.database import REQUESTS
from pipelines.gateway.keys import Key, Role
from pipelines.runtime.status import Status
from pipelines.serving import client, locations, recent_traffic
from pipelines.serving.async_client import EMBED_SECONDS
from pipelines.serving.client import SLACK_SECONDS

LOOK_SECONDS = 30.0
BOOKING_SECONDS = 30.0  # for a busy database to take the end of a request


class Settlement:
    """Looks for requests without a gateway, of this one or of others with the same database."""

    def __init__(self, engine: Engine, config: GatewayConfig, prices: Prices, book: Accounts):
        self._engine = engine
        self._prices = prices
        self._book = book
        longest = max(config.answer_seconds, EMBED_SECONDS) + SLACK_SECONDS
        self._longest = longest + config.write_seconds + BOOKING_SECONDS
        self._last_look = 0.0

    def look_now_and_then(self) -> None:
        """Settle what there is, at most every LOOK_SECONDS."""
        if time.monotonic() - self._last_look < LOOK_SECONDS and self._last_look:
            return
        self._last_look = time.monotonic()
        try:
            self.settle()
        except (SQLAlchemyError, UserError, OSError, ValueError) as error:
            print(f"requests of a lost gateway: {error}; trying again", flush=True)

    def settle(self) -> int:
        """Book every lost request; returns how many there were."""
        lost = self._lost_requests()
        if not lost:
            return 0
        logged = _read_log(min(row.time for row in lost))
        for row in lost:
            key = Key(row.key_id, row.tenant, Role.ASKER)
            order = Order(row.id, key, row.asker, row.reserve)
            self._book.close(order, self._outcome(logged.get(row.id)))
        print(f"{len(lost)} requests of a lost gateway were booked", flush=True)
        return len(lost)

    def _lost_requests(self) -> Sequence[Row[Any]]:
        is_lost = REQUESTS.c.cost.is_(None) & (REQUESTS.c.time < time.time() - self._longest)
        with database.reading(self._engine) as connection:
            return connection.execute(select(REQUESTS).where(is_lost)).all()

    def _outcome(self, row: dict[str, Any] | None) -> Outcome:
        """As the gateway itself would have booked it.

        A request that is not in the log never reached the assistant, or is an embedding. Of another
        machine's assistant there is no log here, so all that was set aside is paid.
        """
        if row is None and client.is_external():
            return Outcome(Status.CANCELLED)
        if row is None or row["status"] in (Status.FAILED, Status.REJECTED):
            status = Status(row["status"]) if row else Status.FAILED
            return Outcome(status, cost=accounts.price(self._prices, Tokens()))
        if row["status"] == Status.CANCELLED:
            return Outcome(Status.CANCELLED)
        tokens = Tokens(row["num_prompt_tokens"], row["num_new_tokens"])
        cost = accounts.price(self._prices, tokens)
        return Outcome(Status.OK, row["release_id"], tokens, cost)


def _read_log(since: float) -> dict[str, dict[str, Any]]:
    """Request id -> row of the traffic log. Clocks of the two processes are the same."""
    rows = recent_traffic.requests(locations.traffic_folder(), since - 1.0)
    return {str(row["request_id"]): row for row in rows}
