"""Reads data/guards: attacks on the assistant, and harmless texts, that the guard learns from.

A line holds a text and its kind. Attacks of a kind resemble one another: how many attacks of new
kinds are recognised is measured by leaving out one kind at a time.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import demand_none

FILES = ("attacks.jsonl", "harmless.jsonl")
MIN_KINDS = 2  # of attacks
MIN_HARMLESS = 10


class GuardText(BaseModel):
    """One line of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str = Field(min_length=1, max_length=10_000)
    kind: str = Field(min_length=1)


class GuardTexts(NamedTuple):
    """All lines, in the order of the files."""

    attacks: list[GuardText]
    harmless: list[GuardText]


def load(folder: Path) -> GuardTexts:
    """Both files. Raises UserError that lists every problem with its file and line."""
    problems: list[str] = []
    texts = GuardTexts(*(_read(folder / name, problems) for name in FILES))
    demand_none(problems + _problems(folder, texts))
    return texts


def _read(path: Path, problems: list[str]) -> list[GuardText]:
    """The good lines; what is wrong with the others is added to `problems`."""
    if not path.is_file():
        problems.append(f"{path}: is missing: the guard learns from it")
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    texts: list[GuardText] = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                texts.append(GuardText.model_validate_json(line))
        except ValidationError as error:
            detail = error.errors()[0]
            location = ".".join(str(part) for part in detail["loc"])
            problems.append(
                f"{path}:{number}: {location or 'line'}: {detail['msg']}; a line is "
                '{"text": "...", "kind": "..."}'
            )
    return texts


def _problems(folder: Path, texts: GuardTexts) -> list[str]:
    problems: list[str] = []
    counts = Counter(item.text for item in [*texts.attacks, *texts.harmless])
    for text, count in counts.items():
        if count > 1:
            problems.append(f"{folder}: {text[:60]!r} occurs {count} times: keep one")
    kinds = {item.kind for item in texts.attacks}
    if len(kinds) < MIN_KINDS:
        problems.append(
            f"{folder / FILES[0]}: has {len(kinds)} kinds of attacks; {MIN_KINDS} are needed"
        )
    if len(texts.harmless) < MIN_HARMLESS:
        problems.append(
            f"{folder / FILES[1]}: has {len(texts.harmless)} texts; {MIN_HARMLESS} are needed"
        )
    return problems
