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
    func,
    insert,
    select,
)
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError

from pipelines.errors import Unreachable, UserError
from pipelines.system import paths

VARIABLE = "GATEWAY_DATABASE_URL"
SECRET_BYTES = 32
BUSY_SECONDS = 30
TABLES_LOCK = 8100  # any number that nobody else locks in this database
METADATA = MetaData()

# Also has the owners of tokens, whose row says what their newest token said; see token_owners.py.
KEYS = Table(
    "gateway_keys",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("digest", String(64), nullable=False),  # SHA-256 of the secret part; empty: no key
    Column("tenant", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
)
# Groups of a key; of a token's owner those of the newest token.
KEY_GROUPS = Table(
    "gateway_key_groups",
    METADATA,
    Column("key_id", String(16), primary_key=True),
    Column("name", String(64), primary_key=True),
)
TOKEN_OWNERS = Table(
    "gateway_token_owners",
    METADATA,
    Column("id", String(16), primary_key=True),  # as in gateway_keys
    Column("issuer", Text, nullable=False),
    Column("subject", String(255), nullable=False),
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
# Files and batches: times are null until they come.
FILES = Table(
    "gateway_files",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    # Of a result, which consists of a batch's lines that ended so; null: it was uploaded.
    Column("batch_id", String(40)),
    Column("line_status", String(16)),
    Index("gateway_files_by_tenant", "tenant", "created"),
)
FILE_PARTS = Table(
    "gateway_file_parts",
    METADATA,
    Column("file_id", String(40), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
BATCHES = Table(
    "gateway_batches",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("input_file_id", String(40), nullable=False),
    Column("status", String(16), nullable=False),  # as in batch_store.py
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("expires", Float, nullable=False),
    Column("cancelling", Float),
    Column("ended", Float),
    Column("output_file_id", String(40)),
    Column("error_file_id", String(40)),
    Column("problems", Text),  # JSON: why it failed or was cancelled
    Column("labels", Text),  # JSON: what its client calls metadata
    Column("num_lines", Integer, nullable=False),
    Column("num_completed", Integer, nullable=False),
    Column("num_failed", Integer, nullable=False),
    Column("last_start", Float, nullable=False),  # of one of its lines
    Index("gateway_batches_by_tenant", "tenant", "created"),
    Index("gateway_batches_by_status", "status"),
)
BATCH_LINES = Table(
    "gateway_batch_lines",
    METADATA,
    Column("batch_id", String(40), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("request", Text, nullable=False),  # JSON: custom_id and body; empty when it has ended
    Column("status", String(16), nullable=False),  # as in batch_store.py
    Column("not_before", Float, nullable=False),
    Column("num_tries", Integer, nullable=False),  # that failed
    Column("request_id", String(32)),  # of the last try
    Column("owner", String(32)),  # the gateway that works on it
    Column("owned_until", Float),
    Column("result", Text),  # the line of the output or error file
    Index("gateway_batch_lines_by_status", "batch_id", "status", "number"),
)
# Groups as whose member a line was answered: only members of all read the results.
BATCH_GROUPS = Table(
    "gateway_batch_groups",
    METADATA,
    Column("batch_id", String(40), primary_key=True),
    Column("name", String(64), primary_key=True),
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
        _create_tables(engine)
    except (ArgumentError, ImportError) as error:
        raise UserError(f"{VARIABLE} is not a URL that SQLAlchemy can use: {error}") from error
    except OperationalError as error:
        raise Unreachable(f"the gateway's database does not answer: {error.orig}") from error
    return engine


def default_folder() -> Path:
    """Where the database is a file."""
    return paths.state_folder() / "gateway"


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


def lock_tenant(connection: Connection, tenant: str) -> None:
    """Let nobody else count what this tenant has until the transaction ends.

    SQLite's transactions that write follow one another anyway.
    """
    query = select(KEYS.c.id).where(KEYS.c.tenant == tenant).order_by(KEYS.c.id)
    connection.execute(query.with_for_update()).all()


def storable(text: str) -> str:
    """A text from outside to compare with an id; PostgreSQL's texts hold no NUL, and no id does."""
    return "" if "\0" in text else text


def insert_if_new(connection: Connection, table: Table, row: dict[str, object]) -> bool:
    """Insert a row; returns whether there was none with its primary key."""
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values(row))
    except IntegrityError:
        return False
    return True


def compact(engine: Engine) -> None:
    """Write SQLite's file anew, so that what was removed is in no unused page of it any more."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.close()
    finally:
        connection.close()


def _create_tables(engine: Engine) -> None:
    """Make the tables that are missing; gateways that start at the same time take turns.

    SQLite's transactions that write do so anyway.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(TABLES_LOCK)))
        METADATA.create_all(connection)


def _create_file() -> Engine:
    """The default database, in a folder that its owner alone can enter."""
    folder = default_folder()
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
