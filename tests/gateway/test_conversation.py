"""What is asked when a question follows others."""

import pytest

from pipelines.gateway import conversation


@pytest.mark.parametrize(
    ("questions", "question"),
    [
        (["How do I install it?"], "How do I install it?"),
        (
            ["How do I install the server?", "And on Windows?"],
            "How do I install the server? And on Windows?",
        ),
        (
            ["How do I install the server?", "And on Windows?", "Does it need a reboot?"],
            "How do I install the server? And on Windows? Does it need a reboot?",
        ),
        (
            ["How do I install the server?", "Which licence does the client library have?"],
            "Which licence does the client library have?",
        ),
        (
            ["Who signs a release?", "Where are documents kept by default?", "Why there?"],
            "Where are documents kept by default? Why there?",
        ),
    ],
)
def test_a_question_that_depends_on_others_is_asked_with_them(
    questions: list[str], question: str
) -> None:
    assert conversation.condense(questions, max_characters=300) == question


def test_the_oldest_questions_are_dropped_to_fit() -> None:
    questions = ["a" * 90, "and b?", "and c?"]
    assert conversation.condense(questions, max_characters=40) == "and b? and c?"
    assert conversation.condense(["a" * 90, "and c?"], max_characters=40) == "and c?"
