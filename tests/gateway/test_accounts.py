"""Keys and budgets, on SQLite and on PostgreSQL."""

import datetime
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipelines.commands import costs as costs_command
from pipelines.config.gateway import Allowance, Limits
from pipelines.config.serve import Prices
from pipelines.errors import Unreachable, UserError
from pipelines.gateway import accounts, costs, database, keys
from pipelines.gateway.accounts import UNIT, Accounts, Order, Outcome, Tokens
from pipelines.gateway.api_errors import BudgetSpent
from pipelines.gateway.costs import Bill
from pipelines.gateway.keys import Key, Role
from tests.gateway.servers import POSTGRES, run_postgres

ADA = Key("000000000ada", "shop", Role.ASKER)
BOB = Key("000000000bob", "shop", Role.ASKER)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a server."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed")
    with run_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(
    request: pytest.FixtureRequest, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield database.connect()
        return
    monkeypatch.setenv(database.VARIABLE, request.getfixturevalue("postgres"))
    engine = database.connect()
    yield engine
    database.METADATA.drop_all(engine)
    engine.dispose()


def limits(key_budget: float | None, tenant_budget: float | None) -> Limits:
    rest = {"requests_per_minute": None, "tokens_per_minute": None, "concurrent_requests": None}
    return Limits(
        failed_keys_per_minute=5,
        key=Allowance(**rest, monthly_budget=key_budget),
        tenant=Allowance(**rest, monthly_budget=tenant_budget),
    )


def order(number: int, key: Key = ADA, reserve: int = UNIT) -> Order:
    return Order(f"request-{number}", key, "asker", reserve)


def test_a_key_is_valid_until_it_expires_or_is_revoked(engine: Engine) -> None:
    text = keys.create(engine, "shop", Role.OPERATOR, time.time() + 1.0)
    key = keys.authenticate(engine, text)
    assert key is not None
    assert (key.tenant, key.role) == ("shop", Role.OPERATOR)
    time.sleep(1.1)
    assert keys.authenticate(engine, text) is None
    lasting = keys.create(engine, "shop", Role.ASKER)
    keys.revoke(engine, lasting.split("-")[1])
    assert keys.authenticate(engine, lasting) is None
    assert keys.count(engine) == 2


def test_a_key_that_is_nearly_right_is_wrong(engine: Engine) -> None:
    text = keys.create(engine, "shop", Role.ASKER)
    other = keys.create(engine, "bank", Role.ASKER)
    assert keys.authenticate(engine, text[:-1] + ("A" if text[-1] != "A" else "B")) is None
    assert keys.authenticate(engine, f"ak-{other.split('-')[1]}-{text[16:]}") is None
    assert keys.authenticate(engine, f"ak-000000000000-{text[16:]}") is None
    assert keys.authenticate(engine, "") is None


def test_the_database_holds_no_key(engine: Engine) -> None:
    text = keys.create(engine, "shop", Role.ASKER)
    (row,) = keys.read_all(engine)
    assert text[16:] not in " ".join(str(value) for value in row)


def test_a_secret_is_made_once_however_many_ask_for_it(engine: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: database.read_secret(engine, "s"), range(16)))
    assert len(secrets) == 1


def test_requests_at_the_same_time_cannot_slip_past_a_budget(engine: Engine) -> None:
    book = Accounts(engine, limits(key_budget=None, tenant_budget=10.0))

    def is_accepted(number: int) -> bool:
        try:
            book.open(order(number, ADA if number % 2 else BOB))
        except BudgetSpent:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(is_accepted, range(40)))
    assert accepted.count(True) == 10
    assert book.amount("tenant shop") == 10 * UNIT
    assert book.amount(f"key {ADA.id}") + book.amount(f"key {BOB.id}") == 10 * UNIT


def test_a_request_is_booked_once_at_its_cost(engine: Engine) -> None:
    book = Accounts(engine, limits(key_budget=1.5, tenant_budget=None))
    book.open(order(1))
    with pytest.raises(BudgetSpent) as caught:
        book.open(order(2))
    assert caught.value.code == "key.monthly_budget"
    assert 0 < int(caught.value.headers["Retry-After"]) <= 31 * 24 * 3600
    for _ in range(2):
        book.close(order(1), Outcome("ok", "r-one", Tokens(20, 4), cost=7))
    assert book.amount("tenant shop") == book.amount(f"key {ADA.id}") == 7
    book.open(order(2))
    book.close(order(2), Outcome("cancelled"))
    assert book.amount("tenant shop") == UNIT + 7


def test_a_bill_sums_up_what_each_tenant_key_and_release_has_cost(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = Accounts(engine, limits(key_budget=None, tenant_budget=None))
    eve = Key("000000000eve", "bank", Role.ASKER)
    for number, key in enumerate((ADA, ADA, BOB, eve)):
        book.open(order(number, key))
    for number, key in enumerate((ADA, ADA, BOB)):
        book.close(order(number, key), Outcome("ok", "r-one", Tokens(10, 2), cost=UNIT // 4))
    month = f"{datetime.datetime.now(datetime.UTC):%Y-%m}"
    assert costs.bills(engine, month, "tenant") == [
        Bill("bank", 1, 0, 0, 0, 1.0),
        Bill("shop", 3, 3, 30, 6, 0.75),
    ]
    by_key = [(bill.name, bill.cost) for bill in costs.bills(engine, month, "key")]
    assert by_key == [("bank 000000000eve", 1.0), (f"shop {ADA.id}", 0.5), (f"shop {BOB.id}", 0.25)]
    assert [bill.name for bill in costs.bills(engine, month, "release")] == ["none", "r-one"]
    assert costs.bills(engine, "2001-01", "tenant") == []
    path = tmp_path / "bills.csv"
    page = tmp_path / "bills.html"
    costs_command.run(None, "tenant", path, page)
    assert '<td class="number">57.1 %</td>' in page.read_text()
    assert path.read_text().splitlines()[2] == "shop,3,3,30,6,0.75"
    assert "1.750000" in capsys.readouterr().out


def test_prices_are_exact_billionths() -> None:
    prices = Prices(prompt_tokens_per_million=0.1, new_tokens_per_million=0.4, request=0.0)
    assert accounts.price(prices, Tokens(prompt=21, new=33)) == 21 * 100 + 33 * 400


def test_the_default_database_is_for_its_owner_alone(clone: Path) -> None:
    database.connect()
    path = clone / ".state/gateway/gateway.sqlite"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("url", "error"),
    [("nonsense", UserError), ("postgresql+psycopg://ada@127.0.0.1:1/x", Unreachable)],
)
def test_a_database_that_cannot_be_used_is_named(
    clone: Path, monkeypatch: pytest.MonkeyPatch, url: str, error: type[UserError]
) -> None:
    monkeypatch.setenv(database.VARIABLE, url)
    with pytest.raises(error):
        database.connect()
