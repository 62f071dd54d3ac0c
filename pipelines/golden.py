"""Knows the golden set (data/golden/*.jsonl): questions that training never sees, each with expected answer and supporting page."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import UserError


class Golden(BaseModel):
    """One question. `topic` and `style` are its slices; out-of-scope and hostile ones expect a refusal and have no page."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(min_length=1)
    question: str = Field(min_length=1, max_length=2000)
    expected: str = Field(min_length=1)
    topic: str = Field(min_length=1)
    page: str | None
    kind: Literal["faq", "out_of_scope", "hostile"]
    style: str = Field(min_length=1)


def load(folder: Path) -> list[Golden]:
    """All questions, sorted by id. Raises UserError that names file, line, key and remedy."""
    found: dict[str, Golden] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip():
                continue
            try:
                golden = Golden.model_validate_json(line)
            except ValidationError as error:
                problem = error.errors()[0]
                key = ".".join(map(str, problem["loc"])) or "line"
                raise UserError(f"{path}:{number}: {key}: {problem['msg']} (it is {str(problem['input'])[:80]!r})") from error
            if golden.id in found:
                raise UserError(f"{path}:{number}: id: {golden.id!r} occurs twice: give each question its own")
            if (golden.page is None) != (golden.kind != "faq"):
                raise UserError(f"{path}:{number}: page: a question of kind faq names its supporting page, the other kinds have null")
            found[golden.id] = golden
    if not found:
        raise UserError(f"{folder} holds no golden questions (*.jsonl): without them nothing can be judged")
    return [found[name] for name in sorted(found)]


def _lines(path: Path) -> list[str]:
    """Lines as JSON has them: `splitlines` would also cut where a question holds U+2028."""
    try:
        with path.open(encoding="utf-8") as opened:
            return [line.removesuffix("\n") for line in opened]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 (byte {error.start}): save it as UTF-8") from error
