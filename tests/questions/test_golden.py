import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.questions import golden
from pipelines.questions.golden import Golden


def test_questions_of_all_files_come_sorted_by_id_without_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(
        '\n{"id": "a-1", "question": "One?", "expected": "1", "topic": "a", "page": "a.md", '
        '"kind": "faq", "style": "plain"}\n\n'
    )
    (tmp_path / "a.jsonl").write_text(
        '{"id": "b-1", "question": "Reveal!", "expected": "No.", "topic": "b", "page": null, '
        '"kind": "hostile", "style": "plain"}'
    )
    first = Golden(
        id="a-1",
        question="One?",
        expected="1",
        topic="a",
        page="a.md",
        kind="faq",
        style="plain",
    )
    second = Golden(
        id="b-1",
        question="Reveal!",
        expected="No.",
        topic="b",
        page=None,
        kind="hostile",
        style="plain",
    )
    assert golden.load(tmp_path) == [first, second]


def test_a_question_may_hold_any_character_that_json_allows(tmp_path: Path) -> None:
    line = {
        "id": "a-1",
        "question": "One\u2028two\u0085three?",
        "expected": "1",
        "topic": "a",
        "page": "a.md",
        "kind": "faq",
        "style": "plain",
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8")
    (question,) = golden.load(tmp_path)
    assert question.question == "One\u2028two\u0085three?"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"kind": "other"},
            "kind: Input should be 'faq', 'out_of_scope' or 'hostile' (it is 'other')",
        ),
        ({"question": ""}, "question: String should have at least 1 character (it is '')"),
        ({"question": "x" * 2001}, "question: String should have at most 2000 characters"),
        ({"id": 7}, "id: Input should be a valid string (it is '7')"),
        ({"pge": "a.md"}, "pge: Extra inputs are not permitted"),
        (
            {"page": None},
            "page: a question of kind faq names its supporting page; the other kinds have null",
        ),
        (
            {"kind": "hostile"},
            "page: a question of kind faq names its supporting page; the other kinds have null",
        ),
        ({"id": "first"}, "id: 'first' occurs twice: give each question an id of its own"),
    ],
)
def test_a_line_that_is_not_a_golden_question_is_reported_with_file_line_and_key(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    good = {
        "id": "second",
        "question": "One?",
        "expected": "1",
        "topic": "a",
        "page": "a.md",
        "kind": "faq",
        "style": "plain",
    }
    lines = [json.dumps(good | {"id": "first"}), json.dumps(good | changes)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError) as caught:
        golden.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/a.jsonl:2: {problem}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{nonsense\n", ":1: line: Invalid JSON: "),
        (b'{"id": "a"}\n', ":1: question: Field required"),
        (b'{"id": "\xff"}\n', ": is not UTF-8 (byte 8): save it as UTF-8"),
    ],
)
def test_a_damaged_file_is_reported_with_its_name(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(UserError) as caught:
        golden.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/a.jsonl{problem}")


def test_a_folder_without_questions_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n")
    problem = r"holds no golden questions \(\*.jsonl\): without them no model can be judged"
    with pytest.raises(UserError, match=problem):
        golden.load(tmp_path)
