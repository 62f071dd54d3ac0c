"""Append-only records: JSON lines, each with the sha256 of the line before it and of itself.

    {"kind": "released", ..., "previous": "<sha256 of the line before, or 64 zeros>",
     "digest": "<sha256 of this line's other keys>"}

For records without Git under them. An edited, removed, inserted or moved line is reported with its
number. A tail that was cut off cannot be seen from inside: note the last digest elsewhere.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.files import write_text
from pipelines.system import locks

Entry = dict[str, Any]
START = "0" * 64
CHAIN_KEYS = ("previous", "digest")


class BrokenLine(Exception):
    """A line that does not belong where it stands; the text completes `<file>:<line>: `."""


def read(path: Path) -> list[Entry]:
    """The entries of a file, oldest first, without their chain keys.

    Raises UserError naming file and line if the chain is broken.
    """
    if not path.exists():
        raise UserError(f"{path} is missing: `git checkout {path}` restores it if Git has it")
    return parse(path.read_text(encoding="utf-8"), str(path))


def append(path: Path, entry: Entry) -> str:
    """Add an entry to a file, created if it is missing; returns the new line's digest.

    Two processes at once both get their line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The folder is locked rather than the file, which is replaced at each append.
    with locks.exclusive(path.parent):
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        text = extend(current, entry, str(path))
        write_text(path, text)
    last_line = text.splitlines()[-1]
    return str(json.loads(last_line)["digest"])


def rewrite(path: Path, change: Callable[[Entry], Entry | None]) -> int:
    """Replace entries by what `change` makes of them; None removes one. The chain starts anew.

    For erasures alone: whoever noted a digest of the old chain finds it no longer. Returns how many
    entries were changed or removed. Raises UserError if the chain is broken already.
    """
    with locks.exclusive(path.parent):
        entries = read(path)
        text = ""
        num_changed = 0
        for entry in entries:
            new_entry = change(dict(entry))
            num_changed += new_entry != entry
            if new_entry is not None:
                text = _extend(text, new_entry)
        if num_changed:
            write_text(path, text)
    return num_changed


def extend(text: str, entry: Entry, name: str) -> str:
    """The chain's text with one more line; raises UserError if it is broken already."""
    parse(text, name)
    return _extend(text, entry)


def _extend(text: str, entry: Entry) -> str:
    assert not entry.keys() & set(CHAIN_KEYS), f"an entry must not have the keys {CHAIN_KEYS}"
    lines = _lines(text)
    content = {**entry, "previous": _sha256(lines[-1]) if lines else START}
    lines.append(_to_json({**content, "digest": _sha256(_to_json(content))}))
    return "\n".join(lines) + "\n"


def parse(text: str, name: str) -> list[Entry]:
    """The entries of a chain's text.

    Raises UserError with `name` and the number of the first line that is wrong.
    """
    entries: list[Entry] = []
    previous = START
    for number, line in enumerate(_lines(text), start=1):
        try:
            entries.append(_parse_line(line, previous))
        except BrokenLine as error:
            raise UserError(
                f"{name}:{number}: {error}. This record is only ever appended to: "
                "restore the true file from Git or a backup"
            ) from error
        previous = _sha256(line)
    return entries


def _parse_line(line: str, previous: str) -> Entry:
    """The entry of a line that follows the line with the digest `previous`."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise BrokenLine(f"is not valid JSON ({error})") from error
    if not isinstance(entry, dict) or not entry.keys() >= set(CHAIN_KEYS):
        raise BrokenLine("is not an entry of a hash chain (it needs `previous` and `digest`)")
    if entry["previous"] != previous:
        raise BrokenLine(
            "does not follow the line before it: a line was changed, removed, inserted or moved"
        )
    digest = entry.pop("digest")
    if digest != _sha256(_to_json(entry)):
        raise BrokenLine("was changed after it was written")
    del entry["previous"]
    return entry


def _lines(text: str) -> list[str]:
    """The lines that are not blank.

    `splitlines` would also cut at U+2028, which JSON allows in a text.
    """
    return [line for line in text.split("\n") if line.strip()]


def _to_json(entry: Entry) -> str:
    """One line, all of it ASCII, so that no editor or terminal breaks it."""
    return json.dumps(entry, sort_keys=True, allow_nan=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
