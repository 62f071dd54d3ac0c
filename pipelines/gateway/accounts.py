"""Budgets: what a request may cost at most is set aside before it, and its cost booked after it.

A change of both accounts (the key's and its tenant's) and of the request's row is one transaction,
and the limit is part of the update itself, so that requests at the same time cannot slip past it.
What a killed gateway leaves under way is booked later (settling.py).
"""

import datetime
import time
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from pipelines.config.gateway import Limits
from pipelines.config.serve import Prices
from pipelines.gateway import database
from pipelines.gateway.api_errors import BudgetSpent
from pipelines.gateway.database import ACCOUNTS, REPEATS, REQUESTS
from pipelines.gateway.keys import Key
from pipelines.runtime.status import Status

UNIT = 1_000_000_000  # parts of the currency
UNDER_WAY = "under way"


@dataclass(frozen=True)
class Tokens:
    """Tokens that a request reads and writes."""

    prompt: int = 0
    new: int = 0


@dataclass(frozen=True)
class Order:
    """A request that is about to be worked on. `reserve` is the most that it may cost."""

    id: str
    key: Key
    asker: str
    reserve: int = 0
    follow_up: str | None = None
    standalone: str | None = None
    is_batched: bool = False  # a batch waits for its turn instead of counting in limits


@dataclass(frozen=True)
class Outcome:
    """How a request ended. `cost` None: all that was set aside."""

    status: str
    release_id: str | None = None
    tokens: Tokens = Tokens()
    cost: int | None = None


def price(prices: Prices, tokens: Tokens) -> int:
    """Cost in billionths, by the same prices as in the traffic log."""
    prompt = tokens.prompt * prices.prompt_tokens_per_million / 1e6
    new = tokens.new * prices.new_tokens_per_million / 1e6
    return round((prompt + new + prices.request) * UNIT)


@dataclass(frozen=True)
class Balance:
    """An account of this month that has a budget; amounts in billionths."""

    month: str
    owner: str
    amount: int  # spent, or set aside
    budget: int
    was_refused: bool  # a request, by this gateway, because the budget would not bear it


class Accounts:
    """The accounts of all keys and tenants."""

    def __init__(self, engine: Engine, limits: Limits):
        self._engine = engine
        self._limits = limits
        self._refused: set[tuple[str, str]] = set()  # months and owners

    def open(self, order: Order) -> None:
        """Put a request on record and set its reserve aside. Raises BudgetSpent."""
        now = time.time()
        row = _new_row(order, now)
        month = row["month"]
        with self._engine.begin() as connection:
            for owner, budget in self._budgets(order.key):
                if not _set_aside(connection, month, owner, order.reserve, budget):
                    self._refused.add((month, owner))
                    raise _budget_error(owner, now)
            connection.execute(insert(REQUESTS).values(row))

    def record_repeat(self, order: Order, release_id: str, original_id: str) -> None:
        """Put on record a request that costs nothing: it gets the answer of an earlier one."""
        now = time.time()
        row = _new_row(order, now)
        row |= {"status": Status.OK.value, "release_id": release_id, "reserve": 0, "cost": 0}
        repeat = {"request_id": order.id, "original_id": original_id, "time": now}
        with self._engine.begin() as connection:
            connection.execute(insert(REQUESTS).values(row))
            connection.execute(insert(REPEATS).values(repeat))

    def close(self, order: Order, outcome: Outcome) -> None:
        """Book what a request has cost; nothing if that was done."""
        cost = order.reserve if outcome.cost is None else outcome.cost
        values = {
            "status": outcome.status,
            "release_id": outcome.release_id,
            "num_prompt_tokens": outcome.tokens.prompt,
            "num_new_tokens": outcome.tokens.new,
            "cost": cost,
        }
        is_open = (REQUESTS.c.id == order.id) & REQUESTS.c.cost.is_(None)
        month = select(REQUESTS.c.month).where(REQUESTS.c.id == order.id)
        with self._engine.begin() as connection:
            change = connection.execute(update(REQUESTS).where(is_open).values(values))
            if change.rowcount:
                opened_in = str(connection.scalar(month))
                for owner, _ in self._budgets(order.key):
                    _add(connection, opened_in, owner, cost - order.reserve)

    def amount(self, owner: str) -> int:
        """What an owner has spent this month, with what is set aside."""
        is_meant = (ACCOUNTS.c.owner == owner) & (ACCOUNTS.c.month == _month(time.time()))
        with database.reading(self._engine) as connection:
            return int(connection.scalar(select(ACCOUNTS.c.amount).where(is_meant)) or 0)

    def balances(self) -> list[Balance]:
        """The accounts of this month whose owners have a budget."""
        month = _month(time.time())
        limits = {"key": self._limits.key, "tenant": self._limits.tenant}
        query = select(ACCOUNTS.c.owner, ACCOUNTS.c.amount).where(ACCOUNTS.c.month == month)
        if all(allowance.monthly_budget is None for allowance in limits.values()):
            return []
        with database.reading(self._engine) as connection:
            rows = connection.execute(query.order_by(ACCOUNTS.c.owner)).all()
        balances: list[Balance] = []
        for owner, amount in rows:
            budget = limits[owner.partition(" ")[0]].monthly_budget
            if budget is not None:
                was_refused = (month, owner) in self._refused
                balances.append(
                    Balance(month, owner, int(amount), round(budget * UNIT), was_refused)
                )
        return balances

    def _budgets(self, key: Key) -> list[tuple[str, int | None]]:
        """Owner and budget of each account, always in this order, so that no two wait crosswise."""
        budgets = {
            f"key {key.id}": self._limits.key.monthly_budget,
            f"tenant {key.tenant}": self._limits.tenant.monthly_budget,
        }
        return [
            (owner, None if budget is None else round(budget * UNIT))
            for owner, budget in budgets.items()
        ]


def with_conversation(order: Order, follow_up: str, standalone: str) -> Order:
    """The order of a follow-up question. PostgreSQL's texts hold no NUL."""
    return replace(
        order,
        follow_up=follow_up.replace("\0", ""),
        standalone=standalone.replace("\0", ""),
    )


def _new_row(order: Order, now: float) -> dict[str, Any]:
    """The row of a request that is about to be worked on."""
    return {
        "id": order.id,
        "key_id": order.key.id,
        "tenant": order.key.tenant,
        "asker": order.asker,
        "time": now,
        "month": _month(now),
        "follow_up": order.follow_up,
        "standalone": order.standalone,
        "status": UNDER_WAY,
        "num_prompt_tokens": 0,
        "num_new_tokens": 0,
        "reserve": order.reserve,
    }


def _set_aside(
    connection: Connection, month: str, owner: str, amount: int, budget: int | None
) -> bool:
    """Add an amount to an account unless that passes its budget; returns whether it was added."""
    if _add(connection, month, owner, amount, budget):
        return True
    row: dict[str, object] = {"month": month, "owner": owner, "amount": 0}
    database.insert_if_new(connection, ACCOUNTS, row)
    return _add(connection, month, owner, amount, budget)


def _add(
    connection: Connection, month: str, owner: str, amount: int, budget: int | None = None
) -> bool:
    """Returns whether there is such an account with room for the amount."""
    change = update(ACCOUNTS).where(ACCOUNTS.c.month == month, ACCOUNTS.c.owner == owner)
    if budget is not None:
        change = change.where(ACCOUNTS.c.amount + amount <= budget)
    return connection.execute(change.values(amount=ACCOUNTS.c.amount + amount)).rowcount == 1


def _month(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m}"


def _budget_error(owner: str, now: float) -> BudgetSpent:
    kind = owner.partition(" ")[0]
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    later = moment.replace(day=28, hour=0, minute=0, second=0, microsecond=0)
    next_month = (later + datetime.timedelta(days=4)).replace(day=1)
    seconds = int((next_month - moment).total_seconds()) + 1
    return BudgetSpent(
        f"the monthly budget of this {kind} is spent, or would be by this request "
        f"(gateway.limits.{kind}.monthly_budget)",
        code=f"{kind}.monthly_budget",
        headers={"Retry-After": str(seconds)},
    )
