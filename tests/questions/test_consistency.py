import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config.examples import ExamplesConfig
from pipelines.questions import consistency, document_questions, mentions
from pipelines.questions.mentions import Documents, Mention

LIMITS = ExamplesConfig(
    template="faq-v1",
    num_variants=0,
    word_dropout=0.1,
    min_examples=0,
    max_examples=100,
    num_passages=1,
    shuffled_share=0.0,
    use_reading_set=False,
    left_out_share=0.0,
    max_prompt_tokens=1000,
    validation_share=0.1,
    min_questions=1,
    max_question_characters=60,
    near_duplicate_similarity=0.75,
    seed=7,
)
KIND_ERROR = (
    "Input should be 'faq', 'out_of_scope', 'hostile', 'document' or 'unanswerable' (it is 'other')"
)
GATE = {"topic": "gate", "page": "book/gate.md", "answer": "Read it.", "questions": ["why refused"]}
NO = {"topic": "no", "page": None, "answer": "No.", "questions": ["weather"], "refusal": True}
QUESTION = {
    "id": "gate-1",
    "question": "Where does the verdict stand?",
    "expected": "Read it.",
    "topic": "gate",
    "page": "book/gate.md",
    "kind": "faq",
    "style": "plain",
}


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("faq", "golden", "prompts"):
        Path(name).mkdir()


def read(topics: list[dict[str, Any]], golden: list[dict[str, Any]]) -> consistency.Questions:
    Path("faq/a.yaml").write_text(yaml.safe_dump(topics))
    Path("golden/a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in golden))
    return consistency.read(Path("faq"), Path("golden"), Path("qa"))


def test_files_in_agreement_have_no_problem() -> None:
    questions = read([GATE, NO], [QUESTION])
    assert questions.problems == []
    assert consistency.golden_problems(questions) == []
    assert consistency.training_problems(questions, LIMITS) == []
    assert mentions.problems(questions, Documents({"book/gate.md"})) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"topic": "gat"},
            "golden/a.jsonl:1: topic: 'gat' is not in the FAQ: did you mean 'gate'? "
            "Name a topic of data/faq, write it there, or remove the question",
        ),
        (
            {"expected": "Read it!"},
            "golden/a.jsonl:1: expected: 'Read it!' is not the answer of its topic gate "
            "('Read it.'), so no right answer could match it: copy the topic's answer word for "
            "word",
        ),
        (
            {"kind": "hostile", "page": None},
            "golden/a.jsonl:1: kind: hostile, but its topic gate is no refusal: "
            "use faq and name the page, or name a topic with `refusal: true`",
        ),
        (
            {"topic": "no", "expected": "No."},
            "golden/a.jsonl:1: kind: faq, but its topic no is a refusal: "
            "use out_of_scope or hostile with `page: null`, or name another topic",
        ),
        (
            {"page": "book/index.md"},
            "golden/a.jsonl:1: page: 'book/index.md' is not the page of its topic gate "
            "('book/gate.md'): make both the document in which the answer stands",
        ),
    ],
)
def test_a_golden_question_that_does_not_agree_with_its_topic_is_named(
    changes: dict[str, Any], problem: str
) -> None:
    questions = read([GATE, NO], [{**QUESTION, **changes}])
    assert consistency.golden_problems(questions) == [problem]


def test_questions_with_the_same_problem_share_a_line() -> None:
    second = {**QUESTION, "id": "gate-2", "question": "how", "expected": "No idea."}
    third = {**second, "id": "gate-3", "question": "when"}
    (problem,) = consistency.golden_problems(read([GATE], [QUESTION, second, third]))
    assert problem.startswith("golden/a.jsonl:2 (and 1 more): expected: 'No idea.' is not")


def test_a_golden_question_that_occurs_twice_is_named_with_both_lines() -> None:
    again = {**QUESTION, "id": "gate-2", "question": "where does THE verdict stand"}
    (problem,) = consistency.golden_problems(read([GATE], [QUESTION, again]))
    assert problem.startswith("golden/a.jsonl:2: question: 'where does THE verdict stand' is also")
    assert "golden/a.jsonl:1" in problem


def test_a_topic_that_cannot_be_read_is_not_reported_as_unknown_too() -> None:
    questions = read([{**GATE, "questions": []}], [QUESTION])
    assert len(questions.problems) == 1
    assert consistency.golden_problems(questions) == []
    Path("faq/a.yaml").write_text("- {")
    questions = consistency.read(Path("faq"), Path("golden"), Path("qa"))
    assert len(questions.problems) == 1
    assert consistency.golden_problems(questions) == []


def test_all_faults_of_all_files_are_reported_at_once() -> None:
    faults = [{**QUESTION, "kind": "other"}, {**QUESTION, "expected": ""}, QUESTION, QUESTION]
    questions = read([{**GATE, "questions": [], "answer": ""}, GATE, GATE], faults)
    heads = [problem.split(": ")[:3] for problem in questions.problems]
    assert heads == [
        ["faq/a.yaml", "topic gate", "answer"],
        ["faq/a.yaml", "topic gate", "questions"],
        ["faq/a.yaml", "topic 'gate' is already in faq/a.yaml", "rename either"],
        ["golden/a.jsonl:1", "kind", KIND_ERROR],
        ["golden/a.jsonl:2", "expected", "String should have at least 1 character (it is '')"],
        ["golden/a.jsonl:4", "id", "'gate-1' occurs twice"],
    ]


@pytest.mark.parametrize(
    ("texts", "limits", "problem"),
    [
        (
            ["why refused"],
            {"min_questions": 2},
            "faq/a.yaml: topic gate: questions: has 1, fewer than params.yaml: "
            "examples.min_questions (2): add more",
        ),
        (
            ["x" * 61],
            {},
            "has 61 characters; it may have 2 to 60 (params.yaml: "
            "examples.max_question_characters): reword it",
        ),
        (
            ["why refused", "Why refused?"],
            {},
            "faq/a.yaml: topic gate: questions: 'Why refused?' occurs twice (also in faq/a.yaml: "
            "topic gate): remove either",
        ),
        (
            ["Where does this verdict stand?"],
            {"near_duplicate_similarity": 0.6},
            "'Where does this verdict stand?' is worded like the golden question 'Where does the "
            "verdict stand?' (golden/a.jsonl:1; similarity 0.72, params.yaml: "
            "examples.near_duplicate_similarity: 0.6)",
        ),
    ],
)
def test_a_training_question_beyond_the_limits_of_params_yaml_is_named(
    texts: list[str], limits: dict[str, Any], problem: str
) -> None:
    questions = read([{**GATE, "questions": texts}], [QUESTION])
    (line,) = consistency.training_problems(questions, LIMITS.model_copy(update=limits))
    assert problem in line


def test_many_problems_of_one_kind_are_counted_instead_of_listed() -> None:
    topics = [{**GATE, "topic": f"t-{number}"} for number in range(20)]
    lines = consistency.training_problems(
        read(topics, [QUESTION]), LIMITS.model_copy(update={"min_questions": 2})
    )
    assert len([line for line in lines if "examples.min_questions" in line]) == 12
    assert lines.count("... and 8 more of this kind") == 1


def test_what_is_wrong_with_a_text_is_reported_for_answers_and_questions() -> None:
    problems = consistency.text_problems(
        read([GATE], [QUESTION]), lambda text: "is short" if len(text) < 9 else None
    )
    assert problems == ["faq/a.yaml: topic gate: answer: 'Read it.' is short"]


def test_every_template_that_cannot_be_read_is_reported_and_the_missing_one() -> None:
    Path("prompts/a.yaml").write_text(
        "{name: b, description: d, prompt: '{question}', passage: ''}"
    )
    Path("prompts/b.yaml").write_text("{name: b, description: d, prompt: 'Q', passage: ''}")
    problems = consistency.prompt_problems(Path("prompts"), "c", {})
    assert [problem.partition(": ")[0] for problem in problems] == [
        "prompts/a.yaml",
        "prompts/b.yaml",
        "params.yaml",
    ]
    assert "examples.template: prompts/c.yaml does not exist; there are a, b" in problems[2]


def test_a_template_that_would_show_no_passages_is_reported_with_the_key() -> None:
    Path("prompts/g.yaml").write_text(
        "{name: g, description: d, prompt: '{passages}{question}', passage: '{text}', refusal: No.}"
    )
    keys = {"examples.num_passages": 0, "evaluate.num_passages": 3}
    (problem,) = consistency.prompt_problems(Path("prompts"), "g", keys)
    assert problem == (
        "params.yaml: examples.num_passages: 0, but the template g (examples.template) shows "
        "passages: set it to at least 1, or take a template without {passages}"
    )


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("book/Gate.md", "is none of the 2 documents: did you mean 'book/gate.md'?"),
        ("book/gates.md", "is none of the 2 documents: did you mean 'book/gate.md'?"),
        (
            "zoo/animals.pdf",
            "is none of the 2 documents: Correct it, or add the document to a source",
        ),
        ("book/bad.md", "was rejected"),
    ],
)
def test_a_page_that_is_no_document_is_reported_once_with_its_entries(
    page: str, problem: str
) -> None:
    documents = Documents({"book/gate.md", "book/no.md"}, {"book/bad.md": "was rejected"})
    entries = [Mention("a.jsonl:1", page), Mention("a.jsonl:2", page)]
    (line,) = mentions.page_problems([*entries, Mention("b", "book/no.md")], documents)
    assert line.startswith(f"a.jsonl:1 (and 1 more): page: {page!r} {problem}")


def test_a_golden_set_about_another_corpus_is_told_in_one_line() -> None:
    second = {**QUESTION, "id": "gate-2", "question": "how", "page": "book/index.md"}
    documents = Documents({"mine/a.md", "mine/b.md"})
    faq_problem, golden_problem = mentions.problems(read([GATE], [QUESTION, second]), documents)
    assert faq_problem.startswith("data/faq: page: no page of the FAQ is among your documents")
    assert golden_problem.startswith(
        "data/golden: page: no page of your golden set is among your documents: it names 2 pages "
        "such as book/gate.md, and there are 2 documents such as mine/a.md"
    )


def test_pages_of_a_source_that_cannot_be_listed_are_not_reported() -> None:
    documents = Documents({"mine/a.md"}, unknown_sources={"book"})
    assert mentions.problems(read([GATE], [QUESTION]), documents) == []


def test_pages_of_questions_about_documents_do_not_matter_to_a_model_that_is_shown_none() -> None:
    questions = read([GATE], [QUESTION])
    stray = document_questions.DocumentQuestion(
        id="a-1",
        question="Why?",
        answers=[],
        evidence=None,
        page="elsewhere/a.md",
        style="plain",
    )
    reading = document_questions.Reading({"training": [stray], "golden": []}, {"a-1": "qa:1"}, [])
    questions = replace(questions, documents=reading)
    documents = Documents({"book/gate.md"})
    assert mentions.problems(questions, documents, reads=False) == []
    (problem,) = mentions.problems(questions, documents)
    assert problem.startswith("data/qa: page: no page of your questions about documents")
