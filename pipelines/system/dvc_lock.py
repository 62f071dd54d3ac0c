"""Repairs DVC's record of who reads and writes which file (.dvc/tmp/rwlock).

DVC writes it in place, many times a run. A kill or a full disk at that moment leaves half of it,
and every later DVC command ends with an error.
"""

import json
from pathlib import Path

from pipelines.system import locks


def repair(folder: Path = Path(".")) -> None:
    """Remove a half-written record: what it said is over, and DVC begins a new one."""
    record = folder / ".dvc/tmp/rwlock"
    if not record.exists():
        return
    with locks.exclusive(record.with_name("rwlock.lock")):  # DVC writes the record under this lock
        try:
            json.loads(record.read_bytes())
        except ValueError:
            record.unlink()
            cause = "a DVC that was killed or ran out of disk space left half of it"
            print(f"{record}: removed; {cause}", flush=True)
