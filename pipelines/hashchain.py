"""Knows append-only records: JSON lines, each carrying the sha256 of the line before it and of itself.

    {"kind": "released", ..., "previous": "<sha256 of the line before, 64 zeros for the first>", "digest": "<sha256 of this line's other keys>"}

An edited, removed, inserted or moved line is found at its number. What cannot be seen from inside is a tail that was cut off: keep the
file in Git, or note the last digest elsewhere.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.files import write_text

Entry = dict[str, Any]
START = "0" * 64
CHAIN = ("previous", "digest")


def read(path: Path) -> list[Entry]:
    """The entries of a file, oldest first, without their chain keys. Raises UserError naming file and line where the chain is broken."""
    if not path.exists():
        raise UserError(f"{path} is missing: `git checkout {path}` brings it back where Git has it")
    return parse(path.read_text(encoding="utf-8"), str(path))


def append(path: Path, entry: Entry) -> str:
    """Add an entry to a file that is made where it is missing; returns the new line's digest. Two processes at once both get their line."""
    with _alone(path):
        text = extended(path.read_text(encoding="utf-8") if path.exists() else "", entry, str(path))
        write_text(path, text)
    return str(json.loads(text.splitlines()[-1])["digest"])


def extended(text: str, entry: Entry, name: str) -> str:
    """The chain's text with one more line. Raises UserError where the chain is broken already: nothing is built upon it."""
    parse(text, name)
    lines = _lines(text)
    taken = [key for key in CHAIN if key in entry]
    assert not taken, f"an entry has no key {taken} of its own"
    content = {**entry, "previous": _sha256(lines[-1]) if lines else START}
    return "".join(f"{line}\n" for line in (*lines, _json({**content, "digest": _sha256(_json(content))})))


def parse(text: str, name: str) -> list[Entry]:
    """The entries of a chain's text. Raises UserError with `name` and the number of the first line that is wrong."""
    entries, before = [], START
    for number, line in enumerate(_lines(text), start=1):
        problem, entry = _checked(line, before)
        if problem:
            raise UserError(f"{name}:{number}: {problem}. This record is only ever appended to: bring the true file back from Git or a backup")
        entries.append({key: value for key, value in entry.items() if key not in CHAIN})
        before = _sha256(line)
    return entries


def _checked(line: str, before: str) -> tuple[str | None, Entry]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        return f"is no JSON ({error})", {}
    if not isinstance(entry, dict) or any(key not in entry for key in CHAIN):
        return "is no entry of a hash chain (it needs `previous` and `digest`)", {}
    if entry["previous"] != before:
        return "does not follow the line before it: a line was changed, removed, inserted or moved", {}
    if entry["digest"] != _sha256(_json({key: value for key, value in entry.items() if key != "digest"})):
        return "was changed after it was written", {}
    return None, entry


def _lines(text: str) -> list[str]:
    """Lines that are not blank; `splitlines` would also cut at U+2028, which JSON allows in a text."""
    return [line for line in text.split("\n") if line.strip()]


def _json(entry: Entry) -> str:
    """One line, all of it ASCII, so that no editor or terminal breaks it."""
    return json.dumps(entry, sort_keys=True, allow_nan=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time appends to files of this folder. The folder itself is locked: the file is replaced at each append."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
