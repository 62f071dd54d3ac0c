import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.questions import document_questions
from pipelines.questions.document_questions import DocumentQuestion

STRIPES: dict[str, Any] = {
    "id": "zoo-1",
    "question": "What does the zebra have?",
    "answers": ["Black  stripes", "stripes"],
    "evidence": "It has\nblack stripes.",
    "page": "book/zoo.md",
    "style": "plain",
}
TAIL: dict[str, Any] = {
    "id": "zoo-2",
    "question": "How long is its tail?",
    "answers": [],
    "evidence": None,
    "page": "book/zoo.md",
    "style": "plain",
}


def write(folder: Path, split: str, *lines: str) -> None:
    (folder / split).mkdir()
    (folder / split / "a.jsonl").write_text("\n".join(lines) + "\n")


def test_questions_of_both_splits_come_sorted_by_id_with_file_and_line(tmp_path: Path) -> None:
    write(tmp_path, "training", json.dumps(TAIL), "", json.dumps(STRIPES))
    write(tmp_path, "golden", json.dumps(STRIPES | {"id": "zoo-3", "page": "book/tail.md"}))
    reading = document_questions.load(tmp_path)
    assert [question.id for question in reading.training] == ["zoo-1", "zoo-2"]
    assert [question.id for question in reading.golden] == ["zoo-3"]
    assert [question.is_answerable for question in reading.training] == [True, False]
    assert reading.training_pages == {"book/zoo.md"}
    assert reading.labels["zoo-1"] == f"{tmp_path}/training/a.jsonl:3"


def test_a_missing_folder_holds_no_questions(tmp_path: Path) -> None:
    reading = document_questions.load(tmp_path / "nothing")
    assert (reading.training, reading.golden, reading.problems) == ([], [], [])


def test_a_question_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    question = DocumentQuestion.model_validate(STRIPES | {"question": "Which\u2028stripes, Zoë?"})
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden/a.jsonl").write_text(document_questions.to_line(question))
    assert document_questions.load(tmp_path).golden == [question]


def test_white_space_and_letter_case_make_no_difference_to_what_a_text_contains() -> None:
    assert document_questions.contains("The zebra\n  has Stripes.", "zebra has stripes")
    assert not document_questions.contains("The zebra has spots.", "zebra has stripes")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"answers": []},
            "line: answers and evidence belong together: an unanswerable question has [] and null",
        ),
        ({"evidence": None}, "line: answers and evidence belong together"),
        (
            {"answers": ["white stripes"]},
            "line: answers: the first, 'white stripes', is not part of the evidence: copy it from "
            "there word for word",
        ),
        ({"answers": ["black stripes", " "]}, "line: answers: ' ' has 0 characters; it may have 1"),
        ({"answers": ["stripes"] * 9}, "answers: List should have at most 8 items"),
        ({"question": "?"}, "question: String should have at least 2 characters"),
        ({"evidence": "x" * 1201}, "evidence: String should have at most 1200 characters"),
        ({"pge": "book/zoo.md"}, "pge: Extra inputs are not permitted (it is 'book/zoo.md')"),
        ({"id": "zoo-2"}, "id: 'zoo-2' occurs twice ("),
    ],
)
def test_a_line_that_is_not_such_a_question_is_reported_with_file_line_and_key(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    write(tmp_path, "training", json.dumps(TAIL), json.dumps(STRIPES | changes))
    with pytest.raises(UserError) as caught:
        document_questions.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/training/a.jsonl:2: {problem}")


def test_an_id_may_not_be_in_both_splits(tmp_path: Path) -> None:
    write(tmp_path, "training", json.dumps(STRIPES))
    write(tmp_path, "golden", json.dumps(STRIPES))
    (problem,) = document_questions.read(tmp_path).problems
    assert problem.startswith(f"{tmp_path}/golden/a.jsonl:1: id: 'zoo-1' occurs twice (")
    assert f"{tmp_path}/training/a.jsonl:1 has it too" in problem


def test_a_file_that_is_not_utf8_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, "training", json.dumps(STRIPES))
    (tmp_path / "training/b.jsonl").write_bytes(b'{"id": "\xff"}\n')
    reading = document_questions.read(tmp_path)
    assert reading.problems == [
        f"{tmp_path}/training/b.jsonl: is not UTF-8 (byte 8): save it as UTF-8"
    ]
    assert [question.id for question in reading.training] == ["zoo-1"]
