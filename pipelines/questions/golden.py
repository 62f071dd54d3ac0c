"""Reads the golden set (data/golden/*.jsonl): questions for evaluation that training never sees."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import UserError


class Golden(BaseModel):
    """One question with its expected answer and the page that supports it.

    `topic` and `style` are the slices by which it is scored. Questions that are out of scope or
    hostile expect a refusal and have no page.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(min_length=1)
    question: str = Field(min_length=1, max_length=2000)
    expected: str = Field(min_length=1)
    topic: str = Field(min_length=1)
    page: str | None
    kind: Literal["faq", "out_of_scope", "hostile"]
    style: str = Field(min_length=1)


def load(folder: Path) -> list[Golden]:
    """All questions, sorted by id. Raises UserError with file, line, key and remedy."""
    questions: dict[str, Golden] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in _read_lines(path):
            question = _parse_question(line, f"{path}:{number}")
            if question.id in questions:
                raise UserError(
                    f"{path}:{number}: id: {question.id!r} occurs twice: "
                    "give each question an id of its own"
                )
            questions[question.id] = question
    if not questions:
        raise UserError(
            f"{folder} holds no golden questions (*.jsonl): without them no model can be judged"
        )
    return [questions[name] for name in sorted(questions)]


def _parse_question(line: str, label: str) -> Golden:
    try:
        question = Golden.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "line"
        value = str(problem["input"])[:80]
        raise UserError(f"{label}: {key}: {problem['msg']} (it is {value!r})") from error
    if (question.page is None) != (question.kind != "faq"):
        raise UserError(
            f"{label}: page: a question of kind faq names its supporting page; "
            "the other kinds have null"
        )
    return question


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, empty ones left out.

    Lines end as JSON has it: `splitlines` would also cut a question that holds U+2028.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 (byte {error.start}): save it as UTF-8") from error
