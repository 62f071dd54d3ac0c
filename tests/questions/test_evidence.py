from typing import Any

from pipelines.questions import evidence
from pipelines.questions.document_questions import DocumentQuestion, Reading


def question(**changes: Any) -> DocumentQuestion:
    values: dict[str, Any] = {
        "id": "zoo-1",
        "question": "What does the zebra have?",
        "answers": ["black stripes"],
        "evidence": "The old zebra of our zoo has black stripes.",
        "page": "book/zoo.md",
        "style": "plain",
    }
    return DocumentQuestion.model_validate(values | changes)


def reading(*questions: DocumentQuestion) -> Reading:
    labels = {item.id: f"a.jsonl:{number}" for number, item in enumerate(questions, start=1)}
    return Reading({"training": list(questions), "golden": []}, labels, [])


def test_evidence_that_stands_in_its_document_is_no_problem_whatever_the_line_breaks() -> None:
    texts = {"book/zoo.md": "# Zoo\n\nThe old zebra of our\nzoo has  black stripes. It sleeps."}
    assert evidence.problems(reading(question()), texts) == []
    assert evidence.count(reading(question()), texts) == 1


def test_evidence_that_its_document_has_lost_is_named_with_the_nearest_words() -> None:
    texts = {"book/zoo.md": "The old zebra of our zoo has grey stripes."}
    (problem,) = evidence.problems(reading(question()), texts)
    assert problem == (
        "a.jsonl:1: evidence: 'The old zebra of our zoo has black stripes.' is not in "
        "book/zoo.md; the nearest words there are 'The old zebra of our zoo has': copy it again "
        "from the document, correct the answer, or remove the question"
    )


def test_words_that_are_only_a_little_alike_are_no_hint() -> None:
    (problem,) = evidence.problems(reading(question()), {"book/zoo.md": "A zebra of our farm."})
    assert "is not in book/zoo.md: copy it again" in problem


def test_unanswerable_questions_and_unknown_documents_are_not_checked() -> None:
    unanswerable = question(id="zoo-2", answers=[], evidence=None)
    elsewhere = question(id="zoo-3", page="book/gone.md")
    questions = reading(unanswerable, elsewhere)
    assert evidence.problems(questions, {"book/zoo.md": ""}) == []
    assert evidence.count(questions, {"book/zoo.md": ""}) == 0
