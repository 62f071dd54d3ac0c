"""Says once a month that a budget is nearly spent, and once that it is, to each channel.

What was said is in the database, so that it is said once however many gateways there are. A message
that could not be sent is tried again; one whose gateway was killed while it sent may come twice.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Engine, select, update
from sqlalchemy.exc import SQLAlchemyError

from pipelines.config.gateway import GatewayConfig
from pipelines.gateway import database
from pipelines.gateway.accounts import UNIT, Accounts
from pipelines.gateway.alert_channels import Channel, ChannelError
from pipelines.gateway.database import ALERTS

LOOK_SECONDS = 5.0
RETRY_SECONDS = 60.0  # after which a message that was taken up and not sent is taken up again
WHOLE = 100  # percent


@dataclass(frozen=True)
class BudgetState:
    """How much of a budget is spent. `owner`: `key ID` or `tenant NAME`."""

    month: str
    owner: str
    percent: int  # that is reached
    spent: float  # with what is set aside, in the currency of serve.prices
    budget: float

    def text(self) -> str:
        state = f"{self.percent} % of the budget of {self.owner} for {self.month} is spent"
        advice = "python -m pipelines costs --by key shows on what"
        if self.percent == WHOLE:
            advice = "its requests are refused until the budget is raised or the month ends"
        return f"{state}: {self.spent:.6f} of {self.budget:.6f}; {advice}"


class BudgetAlerts:
    """Looks at the accounts of this month."""

    def __init__(
        self,
        engine: Engine,
        config: GatewayConfig,
        accounts: Accounts,
        channels: dict[str, Channel],
    ):
        self._engine = engine
        self._percents = [round(share * WHOLE) for share in config.alerts.budget_shares]
        self._accounts = accounts
        self._channels = channels

    def look(self) -> None:
        """Send what is due. Prints what went wrong, and tries it again at a later look."""
        try:
            for state in self._reached():
                for name, channel in self._channels.items():
                    if self._take_up(state, name):
                        self._send(state, name, channel)
        except SQLAlchemyError as error:
            print(f"budget alerts: the database failed, trying again: {error}", flush=True)

    def _reached(self) -> Iterator[BudgetState]:
        """Every share of a budget that is reached. A refusal means that all of it is."""
        for balance in self._accounts.balances():
            for percent in self._percents:
                is_refused = percent == WHOLE and balance.was_refused
                if is_refused or balance.amount * WHOLE >= balance.budget * percent:
                    yield BudgetState(
                        balance.month,
                        balance.owner,
                        percent,
                        balance.amount / UNIT,
                        balance.budget / UNIT,
                    )

    def _take_up(self, state: BudgetState, channel: str) -> bool:
        """Whether this gateway is the one that sends it now."""
        name = {"month": state.month, "owner": state.owner, "percent": state.percent}
        row: dict[str, object] = {**name, "channel": channel, "taken_up": 0.0}
        now = time.time()
        is_due = (ALERTS.c.sent.is_(None)) & (ALERTS.c.taken_up < now - RETRY_SECONDS)
        query = select(ALERTS.c.sent).where(_is_meant(state, channel))
        with database.reading(self._engine) as connection:
            known = connection.execute(query).one_or_none()
        if known is not None and known.sent is not None:
            return False
        change = update(ALERTS).where(_is_meant(state, channel), is_due).values(taken_up=now)
        with self._engine.begin() as connection:
            if known is None:
                database.insert_if_new(connection, ALERTS, row)
            return connection.execute(change).rowcount == 1

    def _send(self, state: BudgetState, name: str, channel: Channel) -> None:
        try:
            channel(state.text(), {"kind": "budget", **asdict(state)})
        except ChannelError as error:
            print(f"budget alerts: {name}: {error}; trying again", flush=True)
            return
        sent = update(ALERTS).where(_is_meant(state, name)).values(sent=time.time())
        with self._engine.begin() as connection:
            connection.execute(sent)


def _is_meant(state: BudgetState, channel: str) -> ColumnElement[bool]:
    return (
        (ALERTS.c.month == state.month)
        & (ALERTS.c.owner == state.owner)
        & (ALERTS.c.percent == state.percent)
        & (ALERTS.c.channel == channel)
    )
