"""Results of earlier work, kept by key in SQLite files of `.state/`, outside Git and DVC.

`work.sqlite` holds JSON values (what a document was converted or cut into), `vectors.sqlite` holds
vectors. A key is the digest of what a result was made from. `kind` names the work itself by the
digest of its code, settings and libraries, so a result is the same with and without the cache.
Results are committed as they are made: an interrupted stage continues where it was. Losing a file
costs time alone.
"""

import importlib.metadata
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pipelines.errors import UserError
from pipelines.files import batches, digest, replacing, text_digest
from pipelines.system import locks

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
Vector = npt.NDArray[np.float32]
Value = TypeVar("Value")

FILES = ("work.sqlite", "vectors.sqlite")  # of .state
KEYS_A_QUERY = 500
BUSY_SECONDS = 60  # for which a writer waits for another one
COMPRESSION_LEVEL = 1  # of zlib, the fastest
DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Format(Generic[Value]):
    """The table of a cache file and how a value is stored in it."""

    table: str
    key: str  # the column of keys
    value: str  # the column of values
    encode: Callable[[Value], bytes]
    decode: Callable[[bytes], Value]


def encode_json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False)
    return zlib.compress(text.encode("utf-8", "surrogatepass"), COMPRESSION_LEVEL)


def decode_json(content: bytes) -> Any:
    """The JSON value.

    `json.loads` would first look for the encoding and for white space around the value, which takes
    a third of its time.
    """
    text = zlib.decompress(content).decode("utf-8", "surrogatepass")
    value, _ = DECODER.raw_decode(text)
    return value


def encode_vector(vector: Vector) -> bytes:
    return vector.tobytes()


def decode_vector(content: bytes) -> Vector:
    return np.frombuffer(content, dtype=np.float32)


WORK = Format[Any]("work", "key", "value", encode_json, decode_json)
VECTORS = Format[Vector]("vectors", "digest", "vector", encode_vector, decode_vector)


class Cache(Generic[Value]):
    """An open cache file, for one kind of work."""

    def __init__(self, connection: sqlite3.Connection, kind: str, layout: Format[Value]):
        self._connection = connection
        self._kind = kind
        self._format = layout

    def get(self, key: str) -> Value | None:
        """The value with this key; None if there is none."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, Value]:
        """The values that are there, by key."""
        rows = self._select(f"{self._format.key}, {self._format.value}", keys)
        return {key: self._format.decode(content) for key, content in rows}

    def present(self, keys: Iterable[str]) -> set[str]:
        """Which of the keys are there; their values are not read."""
        return {key for (key,) in self._select(self._format.key, keys)}

    def sample(self) -> Value | None:
        """Any one of the values; None if there is none."""
        row = self._connection.execute(
            f"SELECT {self._format.value} FROM {self._format.table} WHERE kind = ? LIMIT 1",
            [self._kind],
        ).fetchone()
        return self._format.decode(row[0]) if row else None

    def put(self, values: Mapping[str, Value]) -> None:
        """Add or replace values; committed at once."""
        rows = [(self._kind, key, self._format.encode(value)) for key, value in values.items()]
        insert = f"INSERT OR REPLACE INTO {self._format.table} VALUES (?, ?, ?)"
        with self._connection:
            self._connection.executemany(insert, rows)

    def missing_rows(
        self, path: Path, schema: "pa.Schema", keys: list[str]
    ) -> Iterator[tuple[str, Row]]:
        """Key and row of every row of a Parquet file whose value is not there, each key once.

        `keys` are those of all rows (`keys_of`). The file is read up to the last missing one.
        """
        missing = set(keys) - self.present(keys)
        if not missing:
            return
        start = 0
        for batch in batches(path, schema):
            for number, key in enumerate(keys[start : start + batch.num_rows]):
                if key in missing:
                    missing.remove(key)
                    yield key, batch.slice(number, 1).to_pylist()[0]
            if not missing:
                return
            start += batch.num_rows

    def rows_with_values(
        self, path: Path, schema: "pa.Schema", keys: list[str], columns: list[str] | None = None
    ) -> Iterator[tuple["pa.RecordBatch", list[Value]]]:
        """Every batch of a Parquet file with the values of its rows, all of which must be there."""
        start = 0
        for batch in batches(path, schema, columns=columns):
            batch_keys = keys[start : start + batch.num_rows]
            values = self.get_many(batch_keys)
            yield batch, [values[key] for key in batch_keys]
            start += batch.num_rows

    def _select(self, columns: str, keys: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        all_keys = list(keys)
        for start in range(0, len(all_keys), KEYS_A_QUERY):
            query_keys = all_keys[start : start + KEYS_A_QUERY]
            marks = ",".join("?" * len(query_keys))
            yield from self._connection.execute(
                f"SELECT {columns} FROM {self._format.table} "
                f"WHERE kind = ? AND {self._format.key} IN ({marks})",
                [self._kind, *query_keys],
            )


@contextmanager
def open_cache(path: Path, kind: str) -> Iterator[Cache[Any]]:
    """The cache of JSON values at `path`, created if it is missing.

    Raises UserError if the file is damaged or cannot be used.
    """
    with _open(path, WORK) as connection:
        yield Cache(connection, kind, WORK)


@contextmanager
def open_vector_cache(path: Path, kind: str) -> Iterator[Cache[Vector]]:
    """The cache of float32 vectors at `path`, created if it is missing.

    `kind` is the encoder's digest and precision. Raises UserError if the file is damaged or cannot
    be used.
    """
    with _open(path, VECTORS) as connection:
        yield Cache(connection, kind, VECTORS)


def count(path: Path) -> int:
    """How many results a cache file holds; 0 if there is none.

    Raises UserError if the file is damaged or cannot be used.
    """
    if not path.exists():
        return 0
    with _plain_connection(path) as connection:
        return sum(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in _tables(connection)
        )


def demand_unused(path: Path) -> None:
    """Raises UserError if somebody uses a cache, for whom values must not go between two looks."""
    if locks.is_held(_use_lock(path)):
        raise _in_use(path)


def clear(path: Path) -> None:
    """Remove every result of a cache file; no unused page of the file keeps a trace.

    Raises as `demand_unused`.
    """
    with locks.exclusive_if_free(_use_lock(path)) as is_free:
        if not is_free:
            raise _in_use(path)
        with _plain_connection(path) as connection:
            for table in _tables(connection):
                connection.execute(f"DELETE FROM {table}")
            connection.commit()
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _in_use(path: Path) -> UserError:
    return UserError(
        f"{path} is in use by a stage that runs, so it cannot be emptied: run the same command "
        "again when it has ended"
    )


def _use_lock(path: Path) -> Path:
    return path.with_suffix(".use")


@contextmanager
def _plain_connection(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise UserError(
            f"{path} cannot be read or written ({error}): it is a cache, so remove it if it is "
            "damaged; only time is lost"
        ) from error


def _tables(connection: sqlite3.Connection) -> list[str]:
    """The tables of results in a cache file."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    names = {name for (name,) in rows}
    return sorted(names & {WORK.table, VECTORS.table})


@contextmanager
def _open(path: Path, layout: Format[Any]) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.shared(_use_lock(path)):  # nobody clears it meanwhile
        yield from _connect(path, layout)


def _connect(path: Path, layout: Format[Any]) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        _prepare(connection, path, layout)
        yield connection
    except sqlite3.OperationalError as error:
        # Locked, disk full or no permission: the file itself is good.
        raise UserError(
            f"{path} cannot be written or read: {error}. Fix that and run the same command: "
            "what was stored is kept"
        ) from error
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{path} is damaged ({error}): remove it and run the same command; "
            "it is a cache, so only time is lost"
        ) from error
    finally:
        connection.close()


def _prepare(connection: sqlite3.Connection, path: Path, layout: Format[Any]) -> None:
    # SQLite does not wait while another process changes the journal mode.
    with locks.exclusive(path.with_suffix(".lock")):
        connection.execute("PRAGMA journal_mode = WAL")
        # Not WITHOUT ROWID: there, a look-up by key reads each value that it compares with.
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {layout.table} (kind TEXT, {layout.key} TEXT, "
            f"{layout.value} BLOB, PRIMARY KEY (kind, {layout.key}))"
        )
    # In WAL mode a kill loses nothing, a power cut the last commits.
    connection.execute("PRAGMA synchronous = NORMAL")


def keys_of(
    path: Path, schema: "pa.Schema", columns: list[str], key: Callable[[Row], str]
) -> list[str]:
    """The key of every row of a Parquet file, which `key` makes from these columns."""
    keys: list[str] = []
    for batch in batches(path, schema, columns=columns):
        keys += map(key, batch.to_pylist())
    return keys


def ensure_folder(folder: Path, remark: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made once and kept; `make` fills a new one, `remark` is printed before."""
    with locks.exclusive(folder.with_suffix(".lock")):
        if not folder.exists():
            print(remark, flush=True)
            with replacing(folder) as target:
                make(target)
    return folder


def kind_of(name: str, code: Iterable[Path], settings: str, libraries: Iterable[str]) -> str:
    """Names the work that this code does with these settings and library versions."""
    lines = [f"{path.name} {digest(path)}\n" for path in sorted(code)]
    versions = [f"{name}=={importlib.metadata.version(name)}\n" for name in sorted(libraries)]
    return f"{name}/{text_digest(''.join(lines) + settings + ''.join(versions))[:24]}"
