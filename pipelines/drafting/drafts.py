"""Drafts and what people decided on them (data/drafts).

drafts.jsonl holds the drafts that passed the round trip, decisions.jsonl the decisions: a hash
chain in Git, from which acceptance.py makes training and golden questions. attempts.jsonl says
which passages the teacher was asked about, so that the next call goes on with others.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines import files
from pipelines.errors import UserError
from pipelines.questions.document_questions import DocumentQuestion
from pipelines.system import hash_chain

FOLDER = Path("data/drafts")
DRAFTS = FOLDER / "drafts.jsonl"
ATTEMPTS = FOLDER / "attempts.jsonl"
DECISIONS = FOLDER / "decisions.jsonl"
STYLE = "drafted"
ID_DIGITS = 10

Outcome = Literal["accepted", "edited", "rejected"]
Item = TypeVar("Item", bound=BaseModel)


class Draft(BaseModel):
    """A question that passed the round trip. `answer` and `evidence` null: no document answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(min_length=1)
    question: str = Field(min_length=2)
    answer: str | None
    evidence: str | None
    page: str = Field(min_length=1)
    chunk_id: str
    passage: str  # that the teacher was asked about
    teacher: str
    rank: int | None  # of the first retrieved passage that holds the evidence, from 1

    @classmethod
    def make(cls, *, question: str, page: str, **values: object) -> "Draft":
        """A draft whose id is the digest of page and question."""
        digest = files.text_digest(f"{page}\n{question}")[:ID_DIGITS]
        return cls.model_validate({"id": digest, "question": question, "page": page, **values})


class Attempt(BaseModel):
    """A passage that a teacher was asked about, and how many drafts passed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    passage: str  # digest of its text
    teacher: str
    num_drafts: int


class Decision(BaseModel):
    """One line of the record: the question as it is to be taught, or its rejection."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str  # of the draft
    decision: Outcome
    question: str
    answer: str | None
    evidence: str | None
    page: str
    who: str = Field(min_length=1)
    why: str
    when: str  # ISO 8601 with zone

    def as_question(self) -> DocumentQuestion:
        """The line of data/qa. Raises ValidationError if the answer is not in the evidence."""
        return DocumentQuestion(
            id=f"{STYLE}.{self.id}",
            question=self.question,
            answers=[] if self.answer is None else [self.answer],
            evidence=self.evidence,
            page=self.page,
            style=STYLE,
        )


def read() -> list[Draft]:
    """All drafts, oldest first. Raises UserError that names file and line."""
    return _read(DRAFTS, Draft)


def read_attempts() -> list[Attempt]:
    return _read(ATTEMPTS, Attempt)


def read_decisions() -> list[Decision]:
    """All decisions, oldest first. Raises UserError with the line if the record was changed."""
    if not DECISIONS.exists():
        return []
    try:
        return [Decision.model_validate(entry) for entry in hash_chain.read(DECISIONS)]
    except ValidationError as error:
        raise UserError(f"{DECISIONS}: holds an entry that is not a decision: {error}") from error


def waiting() -> list[Draft]:
    """The drafts on which nobody has decided."""
    decided_ids = {decision.id for decision in read_decisions()}
    return [draft for draft in read() if draft.id not in decided_ids]


def append(drafts: Sequence[Draft], attempts: Sequence[Attempt]) -> None:
    """Add both to their files: drafts first, since a passage that is noted is not asked about."""
    _append(DRAFTS, drafts)
    _append(ATTEMPTS, attempts)


def decide(decision: Decision) -> None:
    hash_chain.append(DECISIONS, decision.model_dump())


def problems() -> list[str]:
    """What cannot be read, each with file and line."""
    lines: list[str] = []
    for reader in (read, read_attempts, read_decisions):
        try:
            reader()
        except UserError as error:
            lines.append(str(error))
    return lines


def _append(path: Path, items: Sequence[BaseModel]) -> None:
    """Replace the file by a longer one, so that a kill leaves no half line."""
    if not items:
        return
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [json.dumps(item.model_dump(), ensure_ascii=False) + "\n" for item in items]
    files.write_text(path, text + "".join(lines))


def _read(path: Path, model: type[Item]) -> list[Item]:
    if not path.exists():
        return []
    items: list[Item] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append(model.model_validate_json(line))
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(map(str, problem["loc"])) or "line"
            raise UserError(
                f"{path}:{number}: {key}: {problem['msg']}: the command `draft` writes this file; "
                f"`git checkout {path}` restores it, or remove the line"
            ) from error
    return items
