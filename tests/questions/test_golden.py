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
            "kind: Input should be 'faq', 'out_of_scope', 'hostile', 'document' or "
            "'unanswerable' (it is 'other')",
        ),
        (
            {"kind": "document"},
            "kind: document: questions about documents belong into data/qa/golden; kinds here are "
            "faq, out_of_scope, hostile",
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


def test_questions_about_documents_join_the_golden_set_if_passages_are_shown(
    tmp_path: Path,
) -> None:
    question = {
        "id": "m-1",
        "question": "One?",
        "expected": "1",
        "topic": "a",
        "page": "a.md",
        "kind": "faq",
        "style": "plain",
    }
    answerable = {
        "id": "z-1",
        "question": "Which stripes?",
        "answers": ["black stripes", "stripes"],
        "evidence": "It has black stripes.",
        "page": "zoo.md",
        "style": "terse",
    }
    unanswerable = {**answerable, "id": "b-1", "answers": [], "evidence": None, "page": "tail.md"}
    trained = {**answerable, "id": "t-1", "question": "Are there stripes?"}
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden/a.jsonl").write_text(json.dumps(question))
    for split, entries in (("training", [trained]), ("golden", [answerable, unanswerable])):
        (tmp_path / "qa" / split).mkdir(parents=True)
        lines = [json.dumps(entry) for entry in entries]
        (tmp_path / "qa" / split / "a.jsonl").write_text("\n".join(lines))

    refused, faq, answered = golden.load_all(tmp_path / "golden", tmp_path / "qa", "Not there.")

    assert (refused.id, faq.id, answered.id) == ("b-1", "m-1", "z-1")
    assert (refused.kind, refused.expected, refused.documents) == (
        "unanswerable",
        "Not there.",
        "unseen",
    )
    assert refused.expects_refusal
    assert (answered.kind, answered.documents, answered.page) == ("document", "seen", "zoo.md")
    assert answered.answers == ["black stripes", "stripes"]
    assert answered.evidence == "It has black stripes."
    assert {refused.topic, answered.topic} == {"documents"}
    assert golden.load_all(tmp_path / "golden", tmp_path / "qa", None) == [faq]


def test_a_refusal_in_the_templates_words_is_right_for_the_faqs_refusals_too(
    tmp_path: Path,
) -> None:
    question = {
        "id": "m-1",
        "question": "Who will win?",
        "expected": "I cannot help with that.",
        "topic": "refusal.out_of_scope",
        "page": None,
        "kind": "out_of_scope",
        "style": "plain",
    }
    (tmp_path / "golden").mkdir()
    (tmp_path / "qa/training").mkdir(parents=True)
    (tmp_path / "qa/golden").mkdir(parents=True)
    (tmp_path / "golden/a.jsonl").write_text(json.dumps(question))
    (reading,) = golden.load_all(tmp_path / "golden", tmp_path / "qa", "Not there.")
    assert reading.answers == ["I cannot help with that.", "Not there."]
    (plain,) = golden.load_all(tmp_path / "golden", tmp_path / "qa", None)
    assert plain.answers == ["I cannot help with that."]
