"""Reads questions about documents (data/qa/training and data/qa/golden, *.jsonl).

Each has its right answers in the document's own words and the verbatim evidence, or no answer: then
it only looks as if the documents could answer it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.errors import demand_none

FOLDER = Path("data/qa")
SPLITS: tuple["Split", ...] = ("training", "golden")
MAX_ANSWERS = 8
MAX_ANSWER_CHARACTERS = 400  # about 40 words
MAX_EVIDENCE_CHARACTERS = 1200

Split = Literal["training", "golden"]


class DocumentQuestion(BaseModel):
    """One question about a document.

    `answers`: the best first, which is part of the evidence; empty if no document answers the
    question, which then only looks as if `page` did. `evidence`: copied from the document, where
    spaces and line breaks count as the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(min_length=1)
    question: str = Field(min_length=2, max_length=2000)
    answers: list[str] = Field(max_length=MAX_ANSWERS)
    evidence: str | None = Field(max_length=MAX_EVIDENCE_CHARACTERS)
    page: str = Field(min_length=1)
    style: str = Field(min_length=1)

    @property
    def is_answerable(self) -> bool:
        return bool(self.answers)

    @model_validator(mode="after")
    def _answers_stand_in_evidence(self) -> Self:
        if bool(self.answers) != (self.evidence is not None):
            raise ValueError(
                "answers and evidence belong together: an unanswerable question has [] and null"
            )
        for answer in self.answers:
            if not 0 < len(answer.strip()) <= MAX_ANSWER_CHARACTERS:
                raise ValueError(
                    f"answers: {answer[:80]!r} has {len(answer.strip())} characters; "
                    f"it may have 1 to {MAX_ANSWER_CHARACTERS}"
                )
        if self.answers and not contains(self.evidence or "", self.answers[0]):
            raise ValueError(
                f"answers: the first, {self.answers[0]!r}, is not part of the evidence: "
                "copy it from there word for word"
            )
        return self


@dataclass(frozen=True)
class Reading:
    """What the files of both splits hold, sorted by id, and what is wrong with the rest."""

    questions: dict[Split, list[DocumentQuestion]]
    labels: dict[str, str]  # id -> its file and line, for messages
    problems: list[str]

    @property
    def training(self) -> list[DocumentQuestion]:
        return self.questions["training"]

    @property
    def golden(self) -> list[DocumentQuestion]:
        return self.questions["golden"]

    @property
    def training_pages(self) -> set[str]:
        """The documents that training has questions about."""
        return {question.page for question in self.training}


def load(folder: Path) -> Reading:
    """Both splits. Raises UserError that lists every problem of every file."""
    reading = read(folder)
    demand_none(reading.problems)
    return reading


def read(folder: Path) -> Reading:
    """The same without raising. Each problem names file, line, key and remedy."""
    questions: dict[Split, list[DocumentQuestion]] = {}
    labels: dict[str, str] = {}
    problems: list[str] = []
    for split in SPLITS:
        by_id: dict[str, DocumentQuestion] = {}
        for label, line in _lines(folder / split, problems):
            question = _question(line, label, problems)
            if question is None:
                continue
            if question.id in labels:
                problems.append(
                    f"{label}: id: {question.id!r} occurs twice ({labels[question.id]} has it "
                    "too): give each question an id of its own"
                )
                continue
            by_id[question.id] = question
            labels[question.id] = label
        questions[split] = [by_id[name] for name in sorted(by_id)]
    return Reading(questions, labels, problems)


def contains(text: str, part: str) -> bool:
    """Whether a text holds a part; all white space and letter case count as the same."""
    return squeeze(part).lower() in squeeze(text).lower()


def squeeze(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())


def to_line(question: DocumentQuestion) -> str:
    """The question as a line of a file."""
    return json.dumps(question.model_dump(), ensure_ascii=False) + "\n"


def _lines(folder: Path, problems: list[str]) -> Iterator[tuple[str, str]]:
    """The lines of all files with their labels; what is not UTF-8 adds a problem."""
    for path in sorted(folder.glob("*.jsonl")):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            problems.append(f"{path}: is not UTF-8 (byte {error.start}): save it as UTF-8")
            continue
        # Not `splitlines`, which would also cut a question that holds U+2028.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"{path}:{number}", line


def _question(line: str, label: str, problems: list[str]) -> DocumentQuestion | None:
    """The line as a question; None, and its problems added, if it is none."""
    try:
        return DocumentQuestion.model_validate_json(line)
    except ValidationError as error:
        for problem in error.errors():
            key = ".".join(map(str, problem["loc"])) or "line"
            message = problem["msg"].removeprefix("Value error, ")
            value = "" if not problem["loc"] else f" (it is {str(problem['input'])[:80]!r})"
            problems.append(f"{label}: {key}: {message}{value}")
        return None
