"""Which validation questions set the limits; training/test_answer_engine.py asks real models."""

from typing import Any

from pipelines.stages.calibrate import telling_rows


def rows(kind: str, count: int) -> list[dict[str, Any]]:
    return [{"kind": kind, "question": f"{kind} {number}"} for number in range(count)]


def test_questions_about_documents_count_alone_if_they_are_enough() -> None:
    documents = [*rows("document", 30), *rows("unanswerable", 10)]
    assert telling_rows([*rows("faq", 50), *documents]) == documents


def test_few_questions_about_documents_count_together_with_the_faqs() -> None:
    few = [*rows("faq", 50), *rows("document", 39)]
    assert telling_rows(few) == few
