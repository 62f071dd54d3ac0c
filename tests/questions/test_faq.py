from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.questions import faq
from pipelines.questions.faq import Topic


def test_topics_of_all_files_come_sorted_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "- {topic: b.two, page: book/b.md, answer: Two., questions: [two, 'which: two']}\n"
    )
    (tmp_path / "b.yaml").write_text(
        "- {topic: a.none, page: null, answer: Cannot., questions: [weather], refusal: true}\n"
        "- {topic: a.one, page: book/a.md, answer: One., questions: [one]}\n"
    )
    assert faq.load(tmp_path) == [
        Topic(topic="a.none", page=None, answer="Cannot.", questions=["weather"], refusal=True),
        Topic(topic="a.one", page="book/a.md", answer="One.", questions=["one"]),
        Topic(topic="b.two", page="book/b.md", answer="Two.", questions=["two", "which: two"]),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "- {topic: a, page: a.md, answer: A., questions: [one, which: two]}",
            "topic a: questions.1: Input should be a valid string (it is \"{'which': 'two'}\"). "
            "Put quotes around a question that holds `: ` or starts with a sign",
        ),
        (
            "- {topic: a, page: a.md, answer: A., questions: [yes]}",
            "topic a: questions.0: Input should be a valid string (it is 'True')",
        ),
        (
            "- {topic: a, page: a.md, answer: A., questions: []}",
            "topic a: questions: List should have at least 1 item",
        ),
        (
            "- {topic: a, page: a.md, answer: '', questions: [one]}",
            "topic a: answer: String should have at least 1 character",
        ),
        (
            f"- {{topic: a, page: a.md, answer: {'x' * 1001}, questions: [one]}}",
            "topic a: answer: String should have at most 1000 characters",
        ),
        ("- {topic: a, page: a.md, questions: [one]}", "topic a: answer: Field required"),
        ("- {page: a.md, answer: A., questions: [one]}", "topic number 1: topic: Field required"),
        (
            "- {topic: a, page: a.md, answer: A., questions: [one], qestions: []}",
            "topic a: qestions: Extra inputs are not permitted",
        ),
        (
            "- {topic: a, page: null, answer: A., questions: [one]}",
            "topic a: page: name the page that supports the answer; "
            "only a topic with `refusal: true` has `page: null`",
        ),
        (
            "- {topic: a, page: a.md, answer: A., questions: [one], refusal: true}",
            "topic a: page: name the page",
        ),
        ("- just a string", "topic number 1: entry: Input should be a valid dictionary"),
        ("topic: a", "must be a list of topics, each starting with `- topic:`"),
        ("", "must be a list of topics"),
        ("- {", "is not valid YAML: while parsing"),
        (b"- topic: \xff", "is not valid YAML: "),
    ],
)
def test_an_entry_that_is_not_a_topic_is_reported_with_file_entry_key_and_remedy(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    (tmp_path / "a.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        faq.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/a.yaml: ")
    assert problem in str(caught.value)


def test_a_topic_in_two_files_is_reported_with_both(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- {topic: a, page: a.md, answer: A., questions: [one]}")
    (tmp_path / "b.yaml").write_text("- {topic: a, page: a.md, answer: A., questions: [one]}")
    with pytest.raises(UserError) as caught:
        faq.load(tmp_path)
    problem = f"{tmp_path}/b.yaml: topic 'a' is already in {tmp_path}/a.yaml: rename either"
    assert str(caught.value) == problem


def test_a_folder_without_topics_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \*.yaml: write topics there"):
        faq.load(tmp_path)
