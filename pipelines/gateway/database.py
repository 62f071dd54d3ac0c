"""The gateway's database: keys, accounts, requests, feedback and one secret.

A file of SQLite in .state/gateway/ by default, or what GATEWAY_DATABASE_URL names (a SQLAlchemy
URL; PostgreSQL is tested). Amounts of money are whole billionths of the currency of serve.prices,
so that sums are exact. Times are seconds since 1970.
"""

import os
import secrets
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError

from pipelines.errors import Unreachable, UserError
from pipelines.system import paths

VARIABLE = "GATEWAY_DATABASE_URL"
SECRET_BYTES = 32
BUSY_SECONDS = 30
METADATA = MetaData()

KEYS = Table(
    "gateway_keys",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("digest", String(64), nullable=False),  # SHA-256 of the secret part
    Column("tenant", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
)
REQUESTS = Table(
    "gateway_requests",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("key_id", String(16), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("asker", String(64), nullable=False),  # a digest; see placement.py
    Column("time", Float, nullable=False),
    Column("month", String(7), nullable=False),
    # What was written, and the question that was made of it and its conversation; null if the
    # question was worked on as it was written.
    Column("follow_up", Text),
    Column("standalone", Text),
    Column("status", String(16), nullable=False),
    Column("release_id", String(64)),
    Column("num_prompt_tokens", Integer, nullable=False),
    Column("num_new_tokens", Integer, nullable=False),
    Column("reserve", BigInteger, nullable=False),  # set aside before the work
    Column("cost", BigInteger),  # null until the request has ended
    Index("gateway_requests_by_tenant", "tenant", "time"),
)
# Requests that were answered with the answer of an earlier request.
REPEATS = Table(
    "gateway_repeats",
    METADATA,
    Column("request_id", String(32), primary_key=True),
    Column("original_id", String(32), nullable=False),
    Column("time", Float, nullable=False),
)
ACCOUNTS = Table(
    "gateway_accounts",
    METADATA,
    Column("month", String(7), primary_key=True),
    Column("owner", String(80), primary_key=True),  # `key ID` or `tenant NAME`
    Column("amount", BigInteger, nullable=False),  # spent, and set aside for what is under way
)
ALERTS = Table(
    "gateway_alerts",
    METADATA,
    Column("month", String(7), primary_key=True),
    Column("owner", String(80), primary_key=True),
    Column("percent", Integer, primary_key=True),  # of the budget that is spent
    Column("channel", String(16), primary_key=True),
    Column("taken_up", Float, nullable=False),  # when a gateway last began to send it
    Column("sent", Float),
)
FEEDBACK = Table(
    "gateway_feedback",
    METADATA,
    Column("request_id", String(32), primary_key=True),
    Column("asker", String(64), primary_key=True),
    Column("time", Float, nullable=False),
)
DECISIONS = Table(
    "gateway_decisions",
    METADATA,
    Column("request_id", String(32), primary_key=True),
    Column("guard", String(32), primary_key=True),  # as in gateway.guards of params.yaml
    Column("action", String(8), nullable=False),  # flag or block
    Column("time", Float, nullable=False),
)
SECRETS = Table(
    "gateway_secrets",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)


def connect() -> Engine:
    """The database with its tables. Raises UserError or Unreachable with the remedy."""
    url = os.environ.get(VARIABLE)
    try:
        engine = create_engine(url, pool_pre_ping=True) if url else _create_file()
        METADATA.create_all(engine)
    except (ArgumentError, ImportError) as error:
        raise UserError(f"{VARIABLE} is not a URL that SQLAlchemy can use: {error}") from error
    except OperationalError as error:
        raise Unreachable(f"the gateway's database does not answer: {error.orig}") from error
    return engine


def reading(engine: Engine) -> Connection:
    """A connection that only reads, to be closed by `with`."""
    return engine.connect().execution_options(only_reads=True)


def read_secret(engine: Engine, name: str) -> bytes:
    """A random secret that all gateways of this database share; made when it is first read."""
    query = select(SECRETS.c.content).where(SECRETS.c.name == name)
    with engine.begin() as connection:
        content = connection.scalar(query)
        if content is None:
            new: dict[str, object] = {"name": name, "content": secrets.token_bytes(SECRET_BYTES)}
            insert_if_new(connection, SECRETS, new)
            content = connection.scalar(query)
    assert content is not None
    return bytes(content)


def insert_if_new(connection: Connection, table: Table, row: dict[str, object]) -> bool:
    """Insert a row; returns whether there was none with its primary key."""
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values(row))
    except IntegrityError:
        return False
    return True


def _create_file() -> Engine:
    """The default database, in a folder that its owner alone can enter."""
    folder = paths.state_folder() / "gateway"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = folder / "gateway.sqlite"
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _set_up_connection)
    event.listen(engine, "begin", _begin)
    _restrict(path)
    return engine


def _restrict(path: Path) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)


def _set_up_connection(connection: object, _record: object) -> None:
    """Readers beside a writer, and transactions that SQLAlchemy begins, not the driver."""
    connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin(connection: Connection) -> None:
    """Take the write lock at once: a reader that turns writer later could be refused."""
    only_reads = connection.get_execution_options().get("only_reads", False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
