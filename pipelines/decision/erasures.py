"""The record of erasures (data/erasures.jsonl, a hash chain).

It says who erased what kind of thing, when, why, and how much was where. It does not say whom or
what: that would keep what was to go.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.system import hash_chain

RECORD = Path("data/erasures.jsonl")


def begin(kind: str, who: str, why: str, contents: Sequence[str]) -> None:
    """Put on record that somebody begins to erase something.

    `contents`: digests of those of the index that are not whole from now on.
    """
    entry = {"step": "begun", "kind": kind, "who": who, "why": why}
    _append({**entry, "contents": list(contents)})


def end(kind: str, counts: Mapping[str, int], num_left: int) -> None:
    """Put on record what went."""
    _append({"step": "ended", "kind": kind, "removed": dict(counts), "num_left": num_left})


def partial_contents() -> set[str]:
    """Digests of the contents of which passages were erased."""
    digests: set[str] = set()
    if RECORD.exists():
        for entry in hash_chain.read(RECORD):
            digests.update(entry.get("contents", []))
    return digests


def _append(entry: dict[str, object]) -> None:
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    hash_chain.append(RECORD, {**entry, "when": when})
