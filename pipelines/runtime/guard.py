"""Looks at a question before it is worked on.

A broken limit is a reason to reject the question; everything else is a flag in the traffic log.
EXPRESSIONS say what attacks often say, and questions sometimes: they are no flags but part of what
the classifier in injection.py goes by.
"""

import re
import unicodedata

ANY_CASE = re.IGNORECASE | re.DOTALL
EXPRESSIONS = (
    re.compile(
        r"\b(ignore|disregard|forget|override)\b"
        r".{0,40}\b(instruction|prompt|rule|guideline|above|previous)",
        ANY_CASE,
    ),
    re.compile(
        r"\b(system|hidden|initial)\s+prompt\b"
        r"|\b(reveal|show|print|repeat)\b.{0,30}\b(prompt|instructions)\b",
        ANY_CASE,
    ),
    re.compile(
        r"\b(you are now|act as|pretend (to be|you)|developer mode|jailbreak|DAN mode)\b",
        re.IGNORECASE,
    ),
)
FLAGS = {
    "holds markup": re.compile(r"<\s*(script|iframe|img|svg)\b|<\|[a-z_]+\|>", re.IGNORECASE),
    "holds an e-mail address": re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(\.[\w-]{2,63})+\b"),
    "holds a secret": re.compile(
        r"\b(sk-[A-Za-z0-9]{16,}|ghp_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}"
        r"|-----BEGIN [A-Z ]*PRIVATE KEY)"
    ),
}
INVISIBLE = ("Cc", "Cf", "Co")  # Unicode categories: control, format, private use


def problem(question: str, max_characters: int) -> str | None:
    """Why the question cannot be worked on, or None."""
    if not question.strip():
        return "the question is empty"
    if len(question) > max_characters:
        return f"the question has {len(question)} characters; the limit is {max_characters}"
    return None


def gives_orders(text: str) -> bool:
    """Whether one of the expressions matches."""
    return any(pattern.search(text) for pattern in EXPRESSIONS)


def flags(question: str) -> list[str]:
    """What is remarkable about the question, sorted."""
    names = [name for name, pattern in FLAGS.items() if pattern.search(question)]
    if any(_is_invisible(letter) for letter in question):
        names.append("holds invisible characters")
    return sorted(names)


def _is_invisible(letter: str) -> bool:
    return letter not in "\n\r\t" and unicodedata.category(letter) in INVISIBLE
