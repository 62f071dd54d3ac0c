"""Knows vectors made before: kept by the digest of (text, encoder, precision) in .state/vectors.sqlite, outside Git and DVC.

Vectors are written as they are made, so that an interrupted stage continues where it was. Losing the file costs time alone.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipelines import database
from pipelines.database import KEYS_A_QUERY
from pipelines.encoding import Vectors


class Cache:
    """A connection to the cache, for one encoder (`kind`: its digest and precision)."""

    def __init__(self, connection: sqlite3.Connection, kind: str):
        self._connection, self._kind = connection, kind

    def get(self, digests: Iterable[str]) -> dict[str, Vectors]:
        """The vectors that are there, by text digest."""
        found: dict[str, Vectors] = {}
        wanted = list(digests)
        for start in range(0, len(wanted), KEYS_A_QUERY):
            some = wanted[start : start + KEYS_A_QUERY]
            marks = ",".join("?" * len(some))
            rows = self._connection.execute(f"SELECT digest, vector FROM vectors WHERE kind = ? AND digest IN ({marks})", [self._kind, *some])
            found |= {digest: np.frombuffer(vector, dtype=np.float32) for digest, vector in rows}
        return found

    def known(self, digests: Iterable[str]) -> set[str]:
        """Which of the digests are there, without reading their vectors."""
        found: set[str] = set()
        wanted = list(digests)
        for start in range(0, len(wanted), KEYS_A_QUERY):
            some = wanted[start : start + KEYS_A_QUERY]
            marks = ",".join("?" * len(some))
            found |= {digest for (digest,) in self._connection.execute(f"SELECT digest FROM vectors WHERE kind = ? AND digest IN ({marks})", [self._kind, *some])}
        return found

    def dimensions(self) -> int:
        """Of the vectors that are there; 0 where there is none."""
        row = self._connection.execute("SELECT length(vector) FROM vectors WHERE kind = ? LIMIT 1", [self._kind]).fetchone()
        return row[0] // np.dtype(np.float32).itemsize if row else 0

    def put(self, digests: list[str], vectors: Vectors) -> None:
        """Add vectors; committed at once."""
        rows = [(self._kind, digest, vector.tobytes()) for digest, vector in zip(digests, vectors, strict=True)]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)


@contextmanager
def opened(path: Path, kind: str) -> Iterator[Cache]:
    """The cache at `path`, made where it is missing. Raises UserError where it is damaged or cannot be used."""
    with database.opened(path, "vectors (kind TEXT, digest TEXT, vector BLOB, PRIMARY KEY (kind, digest))") as connection:
        yield Cache(connection, kind)
