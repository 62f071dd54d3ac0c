"""GET /v1/operator: what an operator sees at a glance. Each part names its own problem, if any."""

import datetime
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import case, func, select

from pipelines import files
from pipelines.contracts.drift import Decision
from pipelines.decision import ledger
from pipelines.errors import UserError
from pipelines.gateway import costs, database, reports
from pipelines.gateway.accounts import UNIT
from pipelines.gateway.database import REQUESTS
from pipelines.gateway.keys import Key
from pipelines.gateway.metrics import DECISION
from pipelines.gateway.state import Gateway
from pipelines.runtime.status import Status
from pipelines.serving import live_routes

HOURS = 24
HOUR_SECONDS = 3600
NUM_EVENTS = 8  # of the ledger, the newest
NUM_BILLS = 8

Part = Callable[[Gateway], Any]


def overview(gateway: Gateway, key: Key) -> dict[str, Any]:
    """The parts by name."""
    parts: dict[str, Part] = {
        "live": _live,
        "traffic": _traffic,
        "costs": _costs,
        "budgets": _budgets,
        "drift": _drift,
        "events": lambda gateway: _events(gateway, key),
        "runs": lambda _gateway: gateway.settings.open_runs(),
    }
    content: dict[str, Any] = {name: _read(part, gateway) for name, part in parts.items()}
    content["reports"] = reports.links(gateway, key)
    content["time"] = time.time()
    return content


def _read(part: Part, gateway: Gateway) -> dict[str, Any]:
    """A part that cannot be read must not hide the others."""
    try:
        return {"content": part(gateway), "problem": None}
    except (UserError, OSError, ValueError) as error:
        return {"content": None, "problem": str(error)}


def _live(_gateway: Gateway) -> dict[str, Any]:
    """The release that answers, and the one that is taking over, with its share."""
    routes = live_routes.read()
    shares = [{"release_id": release, "share": share} for release, share in routes.shares]
    return {"releases": shares, "is_switching": routes.canary_pid is not None}


def _traffic(gateway: Gateway) -> dict[str, Any]:
    """Requests of the last 24 hours, oldest hour first."""
    now = time.time()
    starts = [now - (HOURS - hour) * HOUR_SECONDS for hour in range(HOURS)]
    # The last start that a request is not before; no database's own arithmetic is needed.
    hour = case(*((REQUESTS.c.time >= starts[number], number) for number in reversed(range(HOURS))))
    is_answered = case((REQUESTS.c.status == Status.OK.value, 1), else_=0)
    day = (
        select(hour.label("hour"), is_answered.label("is_answered"))
        .where(REQUESTS.c.time >= starts[0])
        .subquery()
    )
    sums = select(day.c.hour, func.count(), func.sum(day.c.is_answered)).group_by(day.c.hour)
    with database.reading(gateway.engine) as connection:
        rows = connection.execute(sums).all()
    requests = [0] * HOURS
    answered = [0] * HOURS
    for number, num_requests, num_answered in rows:
        requests[number] = int(num_requests)
        answered[number] = int(num_answered)
    under_way = gateway.limits.num_under_way()
    return {"requests": requests, "answered": answered, "under_way": under_way}


def _costs(gateway: Gateway) -> dict[str, Any]:
    """This month's dearest tenants."""
    month = f"{datetime.datetime.now(datetime.UTC):%Y-%m}"
    bills = costs.bills(gateway.engine, month, "tenant")
    total = sum(bill.cost for bill in bills)
    tenants = [bill._asdict() for bill in bills[:NUM_BILLS]]
    return {"month": month, "total": total, "tenants": tenants}


def _budgets(gateway: Gateway) -> list[dict[str, Any]]:
    balances = gateway.accounts.balances()
    balances.sort(key=lambda balance: -balance.amount / max(1, balance.budget))
    return [
        {
            "owner": balance.owner,
            "spent": balance.amount / UNIT,
            "budget": balance.budget / UNIT,
        }
        for balance in balances[:NUM_BILLS]
    ]


def _drift(gateway: Gateway) -> dict[str, Any] | None:
    """What `monitor` has decided last; None before it ever ran."""
    path = gateway.clone / DECISION
    if not path.exists():
        return None
    decision = files.read_json(path, Decision)
    return decision.model_dump(include={"when", "window", "outcome", "reaction", "reason"})


def _events(gateway: Gateway, key: Key) -> list[dict[str, Any]]:
    """The newest lines of the ledger, with the address of the release's page, if there is one."""
    names = {"when", "kind", "release_id", "who", "why"}
    lines: list[dict[str, Any]] = []
    for event in reversed(ledger.read()[-NUM_EVENTS:]):
        page = event.release_id and reports.link_to_release(gateway, key, event.release_id)
        lines.append({**event.model_dump(mode="json", include=names), "page": page or None})
    return lines
