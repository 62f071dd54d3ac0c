"""The record of decisions about windows: data/reports/drift/decisions.jsonl, a hash chain."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from pipelines.contracts.drift import Acceptance, Decision
from pipelines.errors import UserError
from pipelines.system import hash_chain

LEDGER = Path("data/reports/drift/decisions.jsonl")
ERASED = "(erased)"


class Record(NamedTuple):
    """Everything on record, oldest first; empty before the first entry."""

    decisions: list[Decision]
    acceptances: list[Acceptance]


def read(path: Path = LEDGER) -> Record:
    """Raises UserError with the line if the file was changed by hand."""
    record = Record([], [])
    entries = hash_chain.read(path) if path.exists() else []
    try:
        for entry in entries:
            fields = {key: value for key, value in entry.items() if key != "kind"}
            if entry.get("kind") == "decision":
                record.decisions.append(Decision.model_validate(fields))
            elif entry.get("kind") == "accepted":
                record.acceptances.append(Acceptance.model_validate(fields))
    except ValidationError as error:
        raise UserError(f"{path}: holds an entry that is not a decision: {error}") from error
    return record


def append(entry: Decision | Acceptance, path: Path = LEDGER) -> None:
    """Add a line, for two processes at once too. Raises UserError if the chain is broken."""
    kind = "decision" if isinstance(entry, Decision) else "accepted"
    fields: dict[str, Any] = entry.model_dump()
    hash_chain.append(path, {"kind": kind, **fields})


def erase_quotes(window: str, quotes: Collection[str], path: Path = LEDGER) -> None:
    """Take these questions out of the reason of a window's decision."""

    def change(entry: dict[str, Any]) -> dict[str, Any]:
        if entry.get("kind") == "decision" and entry["window"] == window:
            entry["reason"] = without_quotes(entry["reason"], quotes)
        return entry

    if quotes and path.exists():
        hash_chain.rewrite(path, change)


def without_quotes(sentence: str, quotes: Collection[str]) -> str:
    """The sentence with ERASED instead of each of these questions."""
    for quote in sorted(quotes, key=len, reverse=True):
        sentence = sentence.replace(f"“{quote}”", f"“{ERASED}”")
    return sentence


def baseline(
    release_id: str, decisions: Sequence[Decision], acceptances: Sequence[Acceptance]
) -> list[str]:
    """Windows that make up a release's baseline, oldest first.

    They are the last one that a person accepted and those accepted since; without a person's word,
    all accepted ones.
    """
    by_person = [entry for entry in acceptances if entry.release_id == release_id]
    windows: list[str] = []
    start = ""
    if by_person:
        windows.append(by_person[-1].window)
        start = by_person[-1].when
    for decision in decisions:
        if decision.release_id == release_id and decision.accepted and decision.when > start:
            windows.append(decision.window)
    return list(dict.fromkeys(windows))
