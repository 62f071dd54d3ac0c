"""Reviews: what people decided on thumbs-down and corrections (data/reviews.jsonl).

A review is accepted (the correction is right), edited (the reviewer's own answer is right) or
rejected. The record is a hash chain in Git. lessons.py turns it into FAQ topics and golden
questions; nothing that was not reviewed reaches them.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import UserError
from pipelines.questions.faq import MAX_ANSWER_CHARACTERS
from pipelines.system import hash_chain

RECORD = Path("data/reviews.jsonl")

Outcome = Literal["accepted", "edited", "rejected"]
OUTCOMES: dict[str, Outcome] = {"accept": "accepted", "edit": "edited", "reject": "rejected"}


class Review(BaseModel):
    """One line of the record. `answer` and `page` teach the question; null if it was rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    request_id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    given: str | None  # the assistant's answer
    decision: Outcome
    answer: str | None
    page: str | None  # uri of the document that supports the answer
    who: str = Field(min_length=1)
    why: str
    when: str  # ISO 8601 with zone


@dataclass(frozen=True)
class Complaint:
    """A thumb down or a correction that waits for a review."""

    request_id: str
    time: datetime.datetime
    who: str
    question: str
    answer: str | None  # the assistant's
    correction: str | None
    comment: str | None
    page: str | None  # of the passage that was retrieved first
    pages: tuple[str, ...] = ()  # of all passages that were retrieved

    @classmethod
    def from_row(cls, row: dict[Any, Any]) -> "Complaint":
        """A row of monitoring's table of complaints, in which a missing text is None or NaN."""
        texts = {
            key: row[key] if isinstance(row[key], str) else None
            for key in ("answer", "correction", "comment", "page")
        }
        return cls(
            request_id=str(row["request_id"]),
            time=row["time"],
            who=str(row["who"]),
            question=str(row["question"]),
            pages=tuple(row["pages"]),
            **texts,
        )


@dataclass(frozen=True)
class Ruling:
    """What a reviewer decides. `answer` is read by `edit` alone; `page` None: the complaint's."""

    decision: str  # a key of OUTCOMES
    who: str
    why: str = ""
    answer: str | None = None
    page: str | None = None


def read(path: Path = RECORD) -> list[Review]:
    """All reviews, oldest first. Raises UserError with the line if the record was changed."""
    if not path.exists():
        return []
    try:
        return [Review.model_validate(entry) for entry in hash_chain.read(path)]
    except ValidationError as error:
        raise UserError(f"{path}: holds an entry that is not a review: {error}") from error


def append(review: Review, path: Path = RECORD) -> None:
    hash_chain.append(path, review.model_dump())


def review(complaint: Complaint, ruling: Ruling) -> Review:
    """The ruling as a line of the record. Raises UserError if it leaves no answer or no page."""
    is_rejected = ruling.decision == "reject"
    return Review(
        request_id=complaint.request_id,
        question=complaint.question,
        given=complaint.answer,
        decision=OUTCOMES[ruling.decision],
        answer=None if is_rejected else _answer(complaint, ruling),
        page=None if is_rejected else _page(complaint, ruling),
        who=ruling.who,
        why=ruling.why,
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _answer(complaint: Complaint, ruling: Ruling) -> str:
    text = ruling.answer if ruling.decision == "edit" else complaint.correction
    answer = (text or "").strip()
    if not answer:
        raise UserError(
            f"{complaint.request_id}: there is no correction to accept: give an answer with "
            "--decision edit --answer TEXT, or leave the question out with --decision reject"
        )
    if len(answer) > MAX_ANSWER_CHARACTERS:
        raise UserError(
            f"{complaint.request_id}: the answer has {len(answer)} characters, and the FAQ takes "
            f"{MAX_ANSWER_CHARACTERS}: give a shorter one with --decision edit --answer TEXT"
        )
    return answer


def _page(complaint: Complaint, ruling: Ruling) -> str:
    page = ruling.page or complaint.page
    if page is None:
        raise UserError(
            f"{complaint.request_id}: no page was retrieved for it: "
            "name the document that supports the answer with --page URI"
        )
    return page
