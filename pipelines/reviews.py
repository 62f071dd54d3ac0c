"""Knows reviews: what people decided on thumbs-down and corrections (data/reviews.jsonl, a hash chain in Git), and what it teaches.

A review is accepted (the correction is right), edited (the reviewer's own answer is) or rejected. Accepted and edited questions become FAQ
topics (data/faq/reviewed.yaml) and, a share of them, golden questions (data/golden/reviewed.jsonl). Both files are made from the record
alone, so that they can be made again. Nothing that was not reviewed reaches them.

Golden questions are chosen by the question's digest: no one picks them, and a later review never moves a question from one side to the
other. A question that is worded almost as a golden one becomes golden as well, since training may not see it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines import hashchain
from pipelines.errors import UserError
from pipelines.wording import grams, jaccard, normal

PREFIX = "reviewed."  # of topics that are made here


class Review(BaseModel):
    """One line of the record. `answer` and `page` are what the question is to be answered with; null where it was rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    request_id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    given: str | None  # the assistant's answer
    decision: Literal["accepted", "edited", "rejected"]
    answer: str | None
    page: str | None  # uri of the document that supports the answer
    who: str = Field(min_length=1)
    why: str
    when: str  # ISO 8601 with zone


@dataclass(frozen=True)
class Limits:
    """What params.yaml says of reviewed questions: monitor.golden_share, and examples' limits, which would refuse the whole FAQ."""

    golden_share: float
    near_duplicate: float
    min_questions: int
    max_question_characters: int

    def takes(self, question: str) -> bool:
        return 2 <= len(question.strip()) <= self.max_question_characters


@dataclass(frozen=True)
class Lesson:
    """Reviewed questions with one answer. `held`: too few training questions yet to be a topic of the FAQ."""

    topic: str
    page: str
    answer: str
    training: tuple[str, ...]
    golden: tuple[str, ...]
    held: bool


def read(path: Path) -> list[Review]:
    """All reviews, oldest first; none before the first. Raises UserError naming the line where the record was changed."""
    if not path.exists():
        return []
    try:
        return [Review.model_validate(entry) for entry in hashchain.read(path)]
    except ValidationError as error:
        raise UserError(f"{path}: holds an entry that is no review: {error}") from error


def append(path: Path, review: Review) -> None:
    hashchain.append(path, review.model_dump())


def lessons(reviews: Sequence[Review], limits: Limits, taken: Sequence[str]) -> list[Lesson]:
    """What accepted and edited reviews teach, one lesson an answer, sorted by topic. `taken`: questions of FAQ and golden set that people wrote.

    A question that is there already, or worded almost as one that is, teaches nothing new, and one that the FAQ would not take is left out.
    The last review of a question counts.
    """
    last = {normal(review.question): review for review in reviews}
    written = [grams(question) for question in taken]
    kept = [
        review
        for review in last.values()
        if review.decision != "rejected"
        and review.answer
        and review.page
        and limits.takes(review.question)
        and max((jaccard(grams(review.question), other) for other in written), default=0.0) < limits.near_duplicate
    ]
    sides = _sides([review.question for review in kept], limits.golden_share, limits.near_duplicate)
    groups: dict[str, list[Review]] = {}
    for review in kept:
        groups.setdefault(normal(str(review.answer)), []).append(review)
    found = []
    for key, some in groups.items():
        training, golden = (tuple(sorted(review.question for review in some if sides.get(review.question) == side)) for side in ("training", "golden"))
        topic = f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        found.append(Lesson(topic, str(some[-1].page), str(some[-1].answer), training, golden, len(training) < limits.min_questions))
    return sorted(found, key=lambda lesson: lesson.topic)


def _sides(questions: Sequence[str], share: float, near_duplicate: float) -> dict[str, str]:
    """Question -> golden or training, in the order of their first review, so that a later one moves none. A question that is near both is left out."""
    sides: dict[str, str] = {}
    written: dict[str, frozenset[str]] = {}
    for question in questions:
        own = grams(question)
        near = {sides[other] for other, theirs in written.items() if jaccard(own, theirs) >= near_duplicate}
        if len(near) > 1:
            continue
        by_digest = "golden" if int(hashlib.sha256(normal(question).encode()).hexdigest()[:8], 16) / 16**8 < share else "training"
        sides[question], written[question] = near.pop() if near else by_digest, own
    return sides


def faq_text(found: Sequence[Lesson]) -> str:
    """data/faq/reviewed.yaml: the lessons that have enough questions, as topics."""
    topics = [{"topic": lesson.topic, "page": lesson.page, "answer": lesson.answer, "questions": list(lesson.training)} for lesson in found if not lesson.held]
    return "# Made by `python -m pipelines review` from data/reviews.jsonl: do not edit, review instead.\n" + (
        yaml.safe_dump(topics, sort_keys=False, allow_unicode=True, width=10_000) if topics else "[]\n"
    )


def golden_text(found: Sequence[Lesson]) -> str:
    """data/golden/reviewed.jsonl: golden questions of the same lessons."""
    lines: list[dict[str, Any]] = []
    for lesson in found:
        if not lesson.held:
            lines += [
                {"id": f"{lesson.topic}-{_short(question)}", "question": question, "expected": lesson.answer, "topic": lesson.topic, "page": lesson.page, "kind": "faq", "style": "reviewed"}
                for question in lesson.golden
            ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _short(question: str) -> str:
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()[:8]
