"""What tenants, keys or releases have cost in a month, by the gateway's own records."""

from typing import NamedTuple

from sqlalchemy import Engine, case, func, select

from pipelines.gateway import database
from pipelines.gateway.accounts import UNIT
from pipelines.gateway.database import REQUESTS
from pipelines.runtime.status import Status

GROUPS = {
    "tenant": (REQUESTS.c.tenant,),
    "key": (REQUESTS.c.tenant, REQUESTS.c.key_id),
    "release": (REQUESTS.c.release_id,),
}
NO_RELEASE = "none"  # answered: embeddings, and requests that ended with an error


class Bill(NamedTuple):
    """The sums of one group. What is under way counts with what is set aside for it."""

    name: str
    num_requests: int
    num_answers: int
    num_prompt_tokens: int
    num_new_tokens: int
    cost: float  # in the currency of serve.prices


def bills(engine: Engine, month: str, group: str) -> list[Bill]:
    """The dearest first. `month`: such as 2027-01, in UTC."""
    columns = GROUPS[group]
    is_answered = case((REQUESTS.c.status == Status.OK.value, 1), else_=0)
    cost = func.sum(func.coalesce(REQUESTS.c.cost, REQUESTS.c.reserve))
    sums = (
        func.count(),
        func.sum(is_answered),
        func.sum(REQUESTS.c.num_prompt_tokens),
        func.sum(REQUESTS.c.num_new_tokens),
        cost,
    )
    query = select(*columns, *sums).where(REQUESTS.c.month == month).group_by(*columns)
    with database.reading(engine) as connection:
        rows = connection.execute(query.order_by(cost.desc(), *columns)).all()
    result: list[Bill] = []
    for row in rows:
        parts = [part or NO_RELEASE for part in row[: len(columns)]]
        requests, answers, prompt_tokens, new_tokens, amount = map(int, row[len(columns) :])
        name = " ".join(parts)
        result.append(Bill(name, requests, answers, prompt_tokens, new_tokens, amount / UNIT))
    return result
