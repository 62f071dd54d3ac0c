import datetime
import json
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.questions import reviews
from pipelines.questions.reviews import Complaint, Review, Ruling

COMPLAINT = Complaint(
    request_id="q1",
    time=datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC),
    who="user",
    question="How do I reserve the GPU?",
    answer="I do not know.",
    correction=" Book it in the calendar. ",
    comment=None,
    page="handbook/gpu.md",
)


def review_of(number: int) -> Review:
    return Review(
        request_id=f"q{number}",
        question=f"how do I reserve slot {number}?",
        given="I do not know.",
        decision="accepted",
        answer="Book it in the calendar.",
        page="handbook/gpu.md",
        who="ada",
        why="",
        when="2026-11-21T12:00:00+00:00",
    )


def test_the_record_returns_what_was_written_and_an_edited_review_is_detected(
    tmp_path: Path,
) -> None:
    record = tmp_path / "reviews.jsonl"
    assert reviews.read(record) == []
    reviews.append(review_of(1), record)
    reviews.append(review_of(2), record)
    assert reviews.read(record) == [review_of(1), review_of(2)]
    lines = record.read_text().splitlines()
    record.write_text("\n".join([lines[0].replace("calendar", "colander"), lines[1]]) + "\n")
    with pytest.raises(UserError, match=r"reviews.jsonl:1: was changed"):
        reviews.read(record)
    assert json.loads(lines[1])["who"] == "ada"


def test_an_accepted_complaint_teaches_its_stripped_correction() -> None:
    review = reviews.review(COMPLAINT, Ruling("accept", "ada", answer="ignored"))
    assert (review.decision, review.answer) == ("accepted", "Book it in the calendar.")
    assert (review.page, review.given) == ("handbook/gpu.md", "I do not know.")


def test_a_rejected_complaint_teaches_nothing() -> None:
    review = reviews.review(COMPLAINT, Ruling("reject", "ada", why="a joke", page="other.md"))
    assert (review.decision, review.answer, review.page) == ("rejected", None, None)


def test_an_answer_that_the_faq_would_not_take_is_refused() -> None:
    with pytest.raises(UserError, match="q1: the answer has 1001 characters, and the FAQ takes"):
        reviews.review(COMPLAINT, Ruling("edit", "ada", answer="x" * 1001))
