"""Repairs DVC's record of who reads and writes which file (.dvc/tmp/rwlock).

DVC writes it in place, many times a run. A kill or a full disk at that moment leaves half of it,
and every later DVC command ends with an error.

It names processes by their number. DVC forgets those that are gone, but takes a zombie for alive:
a killed process stays one until its parent asks for its exit code, which process 1 of a container
need not do. Nor does it know that a number may belong to another process after a restart.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from pipelines.system import locks

CLOCK_SECONDS = 2.0  # by which the start of a process may be off

Info = dict[str, Any]  # {"pid": 57, "cmd": "dvc repro"}


def repair(folder: Path = Path(".")) -> None:
    """Remove a half-written record, and from a whole one the entries of dead processes."""
    record = folder / ".dvc/tmp/rwlock"
    if not record.exists():
        return
    with locks.exclusive(record.with_name("rwlock.lock")):  # DVC writes the record under this lock
        try:
            content = json.loads(record.read_bytes())
        except ValueError:
            record.unlink()
            cause = "a DVC that was killed or ran out of disk space left half of it"
            print(f"{record}: removed; {cause}", flush=True)
            return
        last_change = record.stat().st_mtime
        dead: set[int] = set()

        def is_alive(info: Info) -> bool:
            if holds(int(info["pid"]), last_change):
                return True
            dead.add(int(info["pid"]))
            return False

        living = _keep(content, is_alive)
        if dead:
            record.write_text(json.dumps(living), encoding="utf-8")
            numbers = ", ".join(map(str, sorted(dead)))
            print(f"{record}: the locks of process {numbers}, which is dead, are gone", flush=True)


def holds(pid: int, last_change: float) -> bool:
    """Whether the process may be the one that a record of that time (epoch seconds) names.

    A zombie holds nothing, and neither does a process that was started after the record's last
    change.
    """
    try:
        process = psutil.Process(pid)
        # Python's first thread ends last, unless a kill ends all of them.
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return False
        return bool(process.create_time() <= last_change + CLOCK_SECONDS)
    except psutil.NoSuchProcess:
        return False


def _keep(content: dict[str, Any], is_alive: Callable[[Info], bool]) -> dict[str, Any]:
    """The record without the entries that are not alive; DVC has no empty ones."""
    writers: dict[str, Info] = {}
    for path, info in content.get("write", {}).items():
        if info and is_alive(info):
            writers[path] = info
    readers: dict[str, list[Info]] = {}
    for path, infos in content.get("read", {}).items():
        living = [info for info in infos if is_alive(info)]
        if living:
            readers[path] = living
    return {"write": writers, "read": readers}
