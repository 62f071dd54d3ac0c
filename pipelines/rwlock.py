"""Knows DVC's note of who reads and writes which file (.dvc/tmp/rwlock).

DVC writes it in place, many times a run. A kill or a full disk in that moment leaves half of it, and every later DVC command ends with an error.
"""

import fcntl
import json
from pathlib import Path


def mend(folder: Path = Path(".")) -> None:
    """Remove a half-written note: what it said is over, and DVC begins a new one. Held meanwhile is the lock under which DVC itself writes it."""
    note = folder / ".dvc/tmp/rwlock"
    if not note.exists():
        return
    with note.with_name("rwlock.lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        try:
            json.loads(note.read_bytes())
        except ValueError:
            note.unlink()
            print(f"{note}: was half-written by a DVC that was killed or had no space left: removed", flush=True)
