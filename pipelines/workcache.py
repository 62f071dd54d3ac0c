"""Knows work done before: results kept by the digest of what they were made from, in .state/work.sqlite, outside Git and DVC.

Results are kept as they are made, so that an interrupted stage continues where it was. Losing the file costs time alone: a result
is the same with and without it, since `kind` holds the digest of the code, the settings and the libraries that made it.
"""

import importlib.metadata
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import database
from pipelines.database import KEYS_A_QUERY
from pipelines.files import batches, digest, text_digest

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
DECODER = json.JSONDecoder()


class Cache:
    """A connection to the cache, for one kind of work."""

    def __init__(self, connection: sqlite3.Connection, kind: str):
        self._connection, self._kind = connection, kind

    def get(self, key: str) -> Any:
        """The JSON value kept under this key; None where there is none."""
        return self.many([key]).get(key)

    def many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The JSON values that are there, by key."""
        found: dict[str, Any] = {}
        wanted = list(keys)
        for start in range(0, len(wanted), KEYS_A_QUERY):
            some = wanted[start : start + KEYS_A_QUERY]
            marks = ",".join("?" * len(some))
            rows = self._connection.execute(f"SELECT key, value FROM work WHERE kind = ? AND key IN ({marks})", [self._kind, *some])
            found |= {key: _value(content) for key, content in rows}
        return found

    def known(self, keys: Iterable[str]) -> set[str]:
        """Which of the keys are there, without reading their values."""
        found: set[str] = set()
        wanted = list(keys)
        for start in range(0, len(wanted), KEYS_A_QUERY):
            some = wanted[start : start + KEYS_A_QUERY]
            marks = ",".join("?" * len(some))
            found |= {key for (key,) in self._connection.execute(f"SELECT key FROM work WHERE kind = ? AND key IN ({marks})", [self._kind, *some])}
        return found

    def put(self, values: Mapping[str, Any]) -> None:
        """Keep JSON values; committed at once."""
        rows = [(self._kind, key, zlib.compress(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), 1)) for key, value in values.items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO work VALUES (?, ?, ?)", rows)

    def to_do(self, path: Path, schema: "pa.Schema", keys: list[str]) -> Iterator[tuple[str, Row]]:
        """Key and row of every row of a Parquet file whose work is not there, each key once. The file is read up to the last of them."""
        missing = set(keys) - self.known(keys)
        start = 0
        for batch in batches(path, schema) if missing else ():
            for number, key in enumerate(keys[start : start + batch.num_rows]):
                if key in missing:
                    missing.remove(key)
                    yield key, batch.slice(number, 1).to_pylist()[0]
            if not missing:
                return
            start += batch.num_rows

    def done(self, path: Path, schema: "pa.Schema", keys: list[str], columns: list[str] | None = None) -> Iterator[tuple["pa.RecordBatch", list[Any]]]:
        """Every batch of a Parquet file with the work of its rows, which must be there."""
        start = 0
        for batch in batches(path, schema, columns=columns):
            some = keys[start : start + batch.num_rows]
            known = self.many(some)
            yield batch, [known[key] for key in some]
            start += batch.num_rows


def _value(content: bytes) -> Any:
    """The JSON value. `json.loads` would first look for the encoding and for white space around the value, a third of its time."""
    return DECODER.raw_decode(zlib.decompress(content).decode("utf-8", "surrogatepass"))[0]


def keys_of(path: Path, schema: "pa.Schema", deciding: list[str], key: Callable[[Row], str]) -> list[str]:
    """The key of every row of a Parquet file, which `key` makes from the columns `deciding`."""
    return [key(row) for batch in batches(path, schema, columns=deciding) for row in batch.to_pylist()]


@contextmanager
def opened(path: Path, kind: str) -> Iterator[Cache]:
    """The cache at `path`, made where it is missing. Raises UserError where it is damaged or cannot be used."""
    with database.opened(path, "work (kind TEXT, key TEXT, value BLOB, PRIMARY KEY (kind, key))") as connection:
        yield Cache(connection, kind)


def kind(name: str, code: Iterable[Path], settings: str, libraries: Iterable[str]) -> str:
    """Name of the work that this code does with these settings and these versions of libraries."""
    versions = "".join(f"{library}=={importlib.metadata.version(library)}\n" for library in sorted(libraries))
    sources = "".join(f"{path.name} {digest(path)}\n" for path in sorted(code))
    return f"{name}/{text_digest(sources + settings + versions)[:24]}"
