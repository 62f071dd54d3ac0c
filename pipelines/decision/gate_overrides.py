"""Reads data/overrides.yaml: which rules of the gate a person lets a candidate break."""

import datetime
import re
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pipelines.contracts.verdict import Override
from pipelines.errors import UserError

MIN_DIGITS = 12  # hex digits by which an override names its candidate
ENTRY_HELP = "Each entry has candidate, rules, who, why and until (a date such as 2030-01-31)"


def read(path: Path, candidate: str, today: datetime.date) -> list[Override]:
    """The overrides that name this candidate and have not expired.

    Raises UserError that names file, entry and key.
    """
    if not path.exists():
        raise UserError(f"{path} is missing: `git checkout {path}` brings it back")
    overrides: list[Override] = []
    for override, until in _parse(path):
        _check(path, override)
        if candidate.startswith(override.candidate) and until >= today:
            overrides.append(override)
    return overrides


def problems(
    path: Path, rules: Collection[str], today: datetime.date, candidate: str | None = None
) -> list[str]:
    """Overrides in force that name an unknown rule: they would change nothing.

    `candidate`: look at its overrides alone. Raises UserError as `read`.
    """
    lines: list[str] = []
    for override, until in _parse(path):
        is_meant = candidate is None or candidate.startswith(override.candidate)
        if until < today or not is_meant:
            continue
        for name in override.rules:
            if name not in rules:
                lines.append(f"{path}: candidate {override.candidate}: {_unknown(name, rules)}")
    return lines


def _unknown(name: str, rules: Collection[str]) -> str:
    similar = get_close_matches(name, rules, n=1)
    hint = f"did you mean {similar[0]!r}?" if similar else f"the rules are {', '.join(rules)}"
    return f"rules: the gate has no rule {name!r}, so nothing would be excused: {hint}"


def _parse(path: Path) -> list[tuple[Override, datetime.date]]:
    """Each entry with its last day."""
    try:
        entries: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        for entry in entries:
            entry["until"] = str(entry.get("until"))
        overrides = TypeAdapter(list[Override]).validate_python(entries)
        dates = [datetime.date.fromisoformat(override.until) for override in overrides]
    except (yaml.YAMLError, ValidationError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: is not a list of overrides: {error}\n{ENTRY_HELP}") from error
    return list(zip(overrides, dates, strict=True))


def _check(path: Path, override: Override) -> None:
    if not re.fullmatch("[0-9a-f]*", override.candidate):
        raise UserError(
            f"{path}: candidate: {override.candidate!r} is not made of hex digits: copy the first "
            f"{MIN_DIGITS} or more of the candidate's digest (data/reports/verdict.json)"
        )
    if len(override.candidate) < MIN_DIGITS:
        raise UserError(
            f"{path}: candidate: {override.candidate!r} is too short: give at least {MIN_DIGITS} "
            "hex digits of the candidate's digest (data/reports/verdict.json)"
        )
    if not override.who.strip() or not override.why.strip():
        raise UserError(f"{path}: who, why: an override names its author and its reason")
