"""Lessons: what reviewed questions teach, as FAQ topics and golden questions.

Questions that were accepted or edited become FAQ topics (data/faq/reviewed.yaml) and, a share of
them, golden questions (data/golden/reviewed.jsonl). Both files are made from the record of reviews
alone, so they can be made again at any time.

The question's digest decides whether it becomes golden: nobody chooses, and a later review never
moves a question to the other side. A question worded almost like a golden one becomes golden too,
since training must not see it.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from pipelines import files
from pipelines.config.examples import ExamplesConfig
from pipelines.config.monitor import MonitorConfig
from pipelines.questions import faq, golden, reviews
from pipelines.questions.reviews import Review
from pipelines.questions.wording import grams, jaccard, normal

FAQ = Path("data/faq")
GOLDEN = Path("data/golden")
REVIEWED_FAQ = FAQ / "reviewed.yaml"
REVIEWED_GOLDEN = GOLDEN / "reviewed.jsonl"
PREFIX = "reviewed."  # of the topics that come from reviews
HEADER = (
    "# Made by `python -m pipelines review` from data/reviews.jsonl: do not edit, review instead.\n"
)

Side = Literal["training", "golden"]


@dataclass(frozen=True)
class Limits:
    """What params.yaml says about reviewed questions.

    The limits of `examples` are obeyed here already: a single question that breaks them would make
    it refuse the whole FAQ.
    """

    golden_share: float
    near_duplicate: float  # similarity from which two questions count as the same
    min_questions: int  # training questions of a topic
    max_question_characters: int

    @classmethod
    def from_config(cls, monitor: MonitorConfig, examples: ExamplesConfig) -> "Limits":
        return cls(
            golden_share=monitor.golden_share,
            near_duplicate=examples.near_duplicate_similarity,
            min_questions=examples.min_questions,
            max_question_characters=examples.max_question_characters,
        )

    def allow(self, question: str) -> bool:
        """Whether the FAQ takes a question of this length."""
        return 2 <= len(question.strip()) <= self.max_question_characters


@dataclass(frozen=True)
class Lesson:
    """Reviewed questions that share one answer."""

    topic: str
    page: str
    answer: str
    training: tuple[str, ...]
    golden: tuple[str, ...]
    is_waiting: bool  # for more training questions, before it becomes a topic of the FAQ

    @property
    def questions(self) -> tuple[str, ...]:
        return (*self.training, *self.golden)


def load(limits: Limits) -> list[Lesson]:
    """What all reviews so far teach beside the FAQ and golden questions that people wrote."""
    questions: list[str] = []
    for topic in faq.load(FAQ):
        if not topic.topic.startswith(PREFIX):
            questions += topic.questions
    for item in golden.load(GOLDEN):
        if not item.topic.startswith(PREFIX):
            questions.append(item.question)
    return learn(reviews.read(), limits, questions)


def write(lessons: Sequence[Lesson]) -> None:
    """Replace the FAQ topics and the golden questions that come from reviews."""
    files.write_text(REVIEWED_FAQ, render_faq(lessons))
    files.write_text(REVIEWED_GOLDEN, render_golden(lessons))


def learn(
    record: Sequence[Review], limits: Limits, existing_questions: Sequence[str]
) -> list[Lesson]:
    """One lesson per answer of the accepted and edited reviews, sorted by topic.

    `existing_questions` are those of the FAQ and the golden set that people wrote: a question
    worded almost like one of them teaches nothing new. A question that the FAQ would not take is
    left out. Of several reviews of a question the last counts.
    """
    latest = {normal(review.question): review for review in record}
    existing = [grams(question) for question in existing_questions]
    by_answer: dict[str, list[Review]] = {}
    questions = []
    for review in latest.values():
        if _teaches(review, limits) and not _is_near(review.question, existing, limits):
            by_answer.setdefault(normal(str(review.answer)), []).append(review)
            questions.append(review.question)
    sides = _split(questions, limits)
    lessons = [_lesson(answer, group, sides, limits) for answer, group in by_answer.items()]
    return sorted(lessons, key=lambda lesson: lesson.topic)


def _teaches(review: Review, limits: Limits) -> bool:
    is_complete = bool(review.answer and review.page)
    return review.decision != "rejected" and is_complete and limits.allow(review.question)


def _is_near(question: str, existing: Sequence[frozenset[str]], limits: Limits) -> bool:
    question_grams = grams(question)
    return any(jaccard(question_grams, theirs) >= limits.near_duplicate for theirs in existing)


def _lesson(answer: str, group: list[Review], sides: dict[str, Side], limits: Limits) -> Lesson:
    """What reviews of one answer teach, in the words of the last; `answer` is its normal form."""
    questions: dict[Side, list[str]] = {"training": [], "golden": []}
    for review in group:
        side = sides.get(review.question)
        if side is not None:
            questions[side].append(review.question)
    return Lesson(
        topic=PREFIX + _short_digest(answer),
        page=str(group[-1].page),
        answer=str(group[-1].answer),
        training=tuple(sorted(questions["training"])),
        golden=tuple(sorted(questions["golden"])),
        is_waiting=len(questions["training"]) < limits.min_questions,
    )


def _split(questions: Sequence[str], limits: Limits) -> dict[str, Side]:
    """The side of each question, decided in the order of first reviews.

    A question joins the side of an earlier one that is worded almost like it; if such questions are
    on both sides, it is left out.
    """
    sides: dict[str, Side] = {}
    grams_of: dict[str, frozenset[str]] = {}
    for question in questions:
        question_grams = grams(question)
        near_sides = {
            sides[earlier]
            for earlier, earlier_grams in grams_of.items()
            if jaccard(question_grams, earlier_grams) >= limits.near_duplicate
        }
        if len(near_sides) < 2:
            by_digest = _side_by_digest(question, limits.golden_share)
            sides[question] = near_sides.pop() if near_sides else by_digest
            grams_of[question] = question_grams
    return sides


def _side_by_digest(question: str, golden_share: float) -> Side:
    position = int(_short_digest(normal(question)), 16) / 16**8  # uniform, 0 to 1
    return "golden" if position < golden_share else "training"


def render_faq(lessons: Sequence[Lesson]) -> str:
    """data/faq/reviewed.yaml: the lessons with enough questions, as topics."""
    topics = [
        {
            "topic": lesson.topic,
            "page": lesson.page,
            "answer": lesson.answer,
            "questions": list(lesson.training),
        }
        for lesson in lessons
        if not lesson.is_waiting
    ]
    if not topics:
        return HEADER + "[]\n"
    return HEADER + yaml.safe_dump(topics, sort_keys=False, allow_unicode=True, width=10_000)


def render_golden(lessons: Sequence[Lesson]) -> str:
    """data/golden/reviewed.jsonl: the golden questions of the same lessons."""
    lines: list[str] = []
    for lesson in lessons:
        if not lesson.is_waiting:
            lines += _golden_lines(lesson)
    return "".join(lines)


def _golden_lines(lesson: Lesson) -> Iterator[str]:
    for question in lesson.golden:
        entry = {
            "id": f"{lesson.topic}-{_short_digest(question)}",
            "question": question,
            "expected": lesson.answer,
            "topic": lesson.topic,
            "page": lesson.page,
            "kind": "faq",
            "style": "reviewed",
        }
        yield json.dumps(entry, ensure_ascii=False) + "\n"


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
