import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import faq, golden, reviews
from pipelines.errors import UserError
from pipelines.reviews import Lesson, Limits, Review, lessons
from pipelines.wording import grams, jaccard

WORDS = [
    "gpu",
    "booking",
    "calendar",
    "server",
    "reserve",
    "slot",
    "when",
    "machine",
    "tomorrow",
    "shared",
    "team",
    "afternoon",
    "cancel",
    "extend",
    "night",
    "weekend",
    "priority",
    "queue",
    "hours",
    "week",
]


def review(number: int, **changed: Any) -> Review:
    question = f"{WORDS[number % 20]} {WORDS[(number * 7 + 3) % 20]} {WORDS[(number * 3 + 5) % 20]} number {number}?"
    facts: dict[str, Any] = {
        "request_id": f"q{number}", "question": question, "given": "I do not know.", "decision": "accepted", "answer": "Book it in the calendar.", "page": "handbook/gpu.md", "who": "ada", "why": "", "when": "2026-11-21T12:00:00+00:00",
    }  # fmt: skip
    return Review(**facts | changed)


def taught(found: list[Lesson]) -> tuple[set[str], set[str]]:
    return {question for lesson in found for question in lesson.training}, {question for lesson in found for question in lesson.golden}


def test_a_share_of_reviewed_questions_is_golden_and_no_question_is_both() -> None:
    training, held = taught(lessons([review(number) for number in range(200)], Limits(0.25, 0.95, 10, 200), []))
    assert len(training) + len(held) == 200
    assert 30 <= len(held) <= 70
    assert training & held == set()


def test_a_later_review_moves_no_question_from_one_side_to_the_other() -> None:
    some = [review(number) for number in range(40)]
    training, held = taught(lessons(some, Limits(0.25, 0.75, 10, 200), []))
    later_training, later_held = taught(lessons([*some, *(review(number) for number in range(40, 200))], Limits(0.25, 0.75, 10, 200), []))
    assert training <= later_training
    assert held <= later_held


def test_a_question_worded_almost_as_a_golden_one_is_never_trained_on() -> None:
    some = [review(number) for number in range(60)]
    exam = sorted(taught(lessons(some, Limits(0.25, 0.7, 10, 200), []))[1])
    alike = [review(100 + place, question=f"{question.upper()} please") for place, question in enumerate(exam)]
    training, held = taught(lessons([*some, *alike], Limits(0.25, 0.7, 10, 200), []))
    assert len(exam) > 5
    assert max(jaccard(grams(question), grams(other)) for question in training for other in held) < 0.7
    assert not any(question.endswith("please") for question in training)


def test_rejected_reviews_teach_nothing_and_the_last_review_of_a_question_counts() -> None:
    made = [review(1), review(2, decision="rejected", answer=None, page=None), review(3), review(3, decision="rejected", answer=None, page=None, request_id="again")]
    training, held = taught(lessons(made, Limits(0.25, 0.95, 1, 200), []))
    assert training | held == {review(1).question}


def test_what_is_worded_as_a_question_that_people_wrote_teaches_nothing_new() -> None:
    assert lessons([review(1)], Limits(0.25, 0.75, 1, 200), [review(1).question.upper()]) == []


def test_a_question_that_the_faq_would_refuse_is_left_out_and_the_others_are_taught() -> None:
    made = [review(1), review(2, question="x" * 201), review(3, question=" ? ")]
    training, held = taught(lessons(made, Limits(0.25, 0.95, 1, 200), []))
    assert training | held == {review(1).question}


def test_answers_are_topics_and_one_with_too_few_training_questions_is_held_back_whole() -> None:
    made = [review(number) for number in range(40)] + [review(number, answer="Ask the desk.") for number in range(100, 104)]
    found = {lesson.answer: lesson for lesson in lessons(made, Limits(0.25, 0.95, 10, 200), [])}
    assert not found["Book it in the calendar."].held
    assert found["Ask the desk."].held
    assert "Ask the desk." not in reviews.faq_text(list(found.values()))
    assert "Ask the desk." not in reviews.golden_text(list(found.values()))


def test_the_files_made_are_read_as_faq_and_golden_set_whatever_users_wrote(tmp_path: Path) -> None:
    hostile = ["- topic: x", "{question} # not a comment: 'quoted'", "\u2028line", "🙃 null", "yes", "!!python/object:os.system x", "<script>"]
    made = [review(number) for number in range(40)] + [review(300 + place, question=text) for place, text in enumerate(hostile)]
    found = lessons(made, Limits(0.25, 0.95, 10, 200), [])
    (tmp_path / "reviewed.yaml").write_text(reviews.faq_text(found), encoding="utf-8")
    (tmp_path / "reviewed.jsonl").write_text(reviews.golden_text(found), encoding="utf-8")
    (topic,) = faq.load(tmp_path)
    questions = golden.load(tmp_path)
    assert {question.question for question in questions} | set(topic.questions) == {one.question for one in made}
    assert {question.topic for question in questions} == {topic.topic}
    assert all(question.style == "reviewed" and question.page == "handbook/gpu.md" for question in questions)


def test_no_lessons_give_files_that_are_read_as_empty(tmp_path: Path) -> None:
    (tmp_path / "reviewed.yaml").write_text(reviews.faq_text([]))
    assert faq.load(tmp_path) == []
    assert reviews.golden_text([]) == ""


def test_the_record_gives_back_what_was_written_and_an_edited_review_is_found(tmp_path: Path) -> None:
    record = tmp_path / "reviews.jsonl"
    assert reviews.read(record) == []
    reviews.append(record, review(1))
    reviews.append(record, review(2))
    assert reviews.read(record) == [review(1), review(2)]
    lines = record.read_text().splitlines()
    record.write_text("\n".join([lines[0].replace("calendar", "colander"), lines[1]]) + "\n")
    with pytest.raises(UserError, match=r"reviews.jsonl:1: was changed"):
        reviews.read(record)
    assert json.loads(lines[1])["who"] == "ada"
