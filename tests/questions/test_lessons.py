from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.questions import faq, golden, lessons
from pipelines.questions.lessons import Lesson, Limits
from pipelines.questions.reviews import Review
from pipelines.questions.wording import grams, jaccard

TEXT = (
    "gpu booking calendar server reserve slot when machine tomorrow shared "
    "team afternoon cancel extend night weekend priority queue hours week"
)
WORDS = TEXT.split()


def review(number: int, **changes: Any) -> Review:
    """An accepted review of a question that has words of its own."""
    words = [WORDS[number % 20], WORDS[(number * 7 + 3) % 20], WORDS[(number * 3 + 5) % 20]]
    fields: dict[str, Any] = {
        "request_id": f"q{number}",
        "question": f"{' '.join(words)} number {number}?",
        "given": "I do not know.",
        "decision": "accepted",
        "answer": "Book it in the calendar.",
        "page": "handbook/gpu.md",
        "who": "ada",
        "why": "",
        "when": "2026-11-21T12:00:00+00:00",
    }
    return Review(**fields | changes)


def training_of(taught: Sequence[Lesson]) -> set[str]:
    return {question for lesson in taught for question in lesson.training}


def golden_of(taught: Sequence[Lesson]) -> set[str]:
    return {question for lesson in taught for question in lesson.golden}


def questions_of(taught: Sequence[Lesson]) -> set[str]:
    return training_of(taught) | golden_of(taught)


def test_a_share_of_reviewed_questions_is_golden_and_no_question_is_both() -> None:
    record = [review(number) for number in range(200)]
    taught = lessons.learn(record, Limits(0.25, 0.95, 10, 200), [])
    assert len(training_of(taught)) + len(golden_of(taught)) == 200
    assert 30 <= len(golden_of(taught)) <= 70
    assert training_of(taught) & golden_of(taught) == set()


def test_a_later_review_never_moves_a_question_to_the_other_side() -> None:
    limits = Limits(0.25, 0.75, 10, 200)
    record = [review(number) for number in range(200)]
    earlier = lessons.learn(record[:40], limits, [])
    later = lessons.learn(record, limits, [])
    assert training_of(earlier) <= training_of(later)
    assert golden_of(earlier) <= golden_of(later)


def test_a_question_worded_almost_like_a_golden_one_is_never_trained_on() -> None:
    limits = Limits(0.25, 0.7, 10, 200)
    record = [review(number) for number in range(60)]
    golden_questions = sorted(golden_of(lessons.learn(record, limits, [])))
    for number, question in enumerate(golden_questions, start=100):
        record.append(review(number, question=f"{question.upper()} please"))
    taught = lessons.learn(record, limits, [])
    assert len(golden_questions) > 5
    for question in training_of(taught):
        assert not question.endswith("please")
        for golden_question in golden_of(taught):
            assert jaccard(grams(question), grams(golden_question)) < 0.7


def test_rejected_reviews_teach_nothing_and_the_last_review_of_a_question_counts() -> None:
    record = [
        review(1),
        review(2, decision="rejected", answer=None, page=None),
        review(3),
        review(3, decision="rejected", answer=None, page=None, request_id="again"),
    ]
    taught = lessons.learn(record, Limits(0.25, 0.95, 1, 200), [])
    assert questions_of(taught) == {review(1).question}


def test_a_question_worded_like_one_that_people_wrote_teaches_nothing_new() -> None:
    existing_questions = [review(1).question.upper()]
    assert lessons.learn([review(1)], Limits(0.25, 0.75, 1, 200), existing_questions) == []


def test_a_question_that_the_faq_would_refuse_is_left_out_and_the_rest_is_taught() -> None:
    record = [review(1), review(2, question="x" * 201), review(3, question=" ? ")]
    taught = lessons.learn(record, Limits(0.25, 0.95, 1, 200), [])
    assert questions_of(taught) == {review(1).question}


def test_each_answer_is_a_topic_and_waits_until_it_has_enough_training_questions() -> None:
    record = [review(number) for number in range(40)]
    record += [review(number, answer="Ask the desk.") for number in range(100, 104)]
    taught = lessons.learn(record, Limits(0.25, 0.95, 10, 200), [])
    is_waiting = {lesson.answer: lesson.is_waiting for lesson in taught}
    assert is_waiting == {"Book it in the calendar.": False, "Ask the desk.": True}
    assert "Ask the desk." not in lessons.render_faq(taught)
    assert "Ask the desk." not in lessons.render_golden(taught)


def test_both_files_can_be_read_whatever_users_wrote(tmp_path: Path) -> None:
    hostile_texts = [
        "- topic: x",
        "{question} # not a comment: 'quoted'",
        "\u2028line",
        "🙃 null",
        "yes",
        "!!python/object:os.system x",
        "<script>",
    ]
    record = [review(number) for number in range(40)]
    record += [review(300 + n, question=text) for n, text in enumerate(hostile_texts)]
    taught = lessons.learn(record, Limits(0.25, 0.95, 10, 200), [])
    (tmp_path / "reviewed.yaml").write_text(lessons.render_faq(taught), encoding="utf-8")
    (tmp_path / "reviewed.jsonl").write_text(lessons.render_golden(taught), encoding="utf-8")
    (topic,) = faq.load(tmp_path)
    golden_questions = golden.load(tmp_path)
    questions = {item.question for item in golden_questions} | set(topic.questions)
    assert questions == {item.question for item in record}
    for item in golden_questions:
        assert (item.topic, item.style) == (topic.topic, "reviewed")
        assert item.page == "handbook/gpu.md"


def test_no_lessons_give_files_without_entries(tmp_path: Path) -> None:
    (tmp_path / "reviewed.yaml").write_text(lessons.render_faq([]))
    assert faq.load(tmp_path) == []
    assert lessons.render_golden([]) == ""
