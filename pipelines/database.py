"""Knows SQLite: opens a file that several processes of this clone share, and says what is wrong with it."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import UserError

KEYS_A_QUERY = 500


@contextmanager
def opened(path: Path, table: str) -> Iterator[sqlite3.Connection]:
    """A connection; file and `table` ("name (columns)") are made where they are missing. Processes wait for each other's writes. Raises UserError where the file is damaged or cannot be used."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=60)
    try:
        with path.with_suffix(".lock").open("a") as lock:  # SQLite does not wait while another process turns the journal over
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")  # with rows apart from their keys: WITHOUT ROWID, a key look-up reads each value that it compares with
        connection.execute("PRAGMA synchronous = NORMAL")  # in WAL mode a kill loses nothing, a power cut the last commits
        yield connection
    except sqlite3.OperationalError as error:  # locked, disk full, no permission: the file itself is good
        raise UserError(f"{path} cannot be written or read: {error}. Mend that and run the same command: what was stored is kept") from error
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path} is damaged ({error}): remove it and run the same command; it is a cache, so only time is lost") from error
    finally:
        connection.close()
