"""Looks at a question before it is worked on, inside Triton: hard limits are reasons to refuse it, everything else is a flag in the traffic log."""

import re
import unicodedata

FLAGS = {
    "asks to ignore instructions": re.compile(r"\b(ignore|disregard|forget|override)\b.{0,40}\b(instruction|prompt|rule|guideline|above|previous)", re.IGNORECASE | re.DOTALL),
    "asks for the prompt": re.compile(r"\b(system|hidden|initial)\s+prompt\b|\b(reveal|show|print|repeat)\b.{0,30}\b(prompt|instructions)\b", re.IGNORECASE | re.DOTALL),
    "plays a role": re.compile(r"\b(you are now|act as|pretend (to be|you)|developer mode|jailbreak|DAN mode)\b", re.IGNORECASE),
    "holds markup": re.compile(r"<\s*(script|iframe|img|svg)\b|<\|[a-z_]+\|>", re.IGNORECASE),
    "holds an e-mail address": re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(\.[\w-]{2,63})+\b"),
    "holds a secret": re.compile(r"\b(sk-[A-Za-z0-9]{16,}|ghp_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY)"),
}


def problem(question: str, max_characters: int) -> str | None:
    """Why the question cannot be worked on, or None."""
    if not question.strip():
        return "the question is empty"
    if len(question) > max_characters:
        return f"the question has {len(question)} characters; the limit is {max_characters}"
    return None


def flags(question: str) -> list[str]:
    """What is remarkable about the question, sorted."""
    found = [name for name, pattern in FLAGS.items() if pattern.search(question)]
    if any(unicodedata.category(sign) in ("Cc", "Cf", "Co") and sign not in "\n\r\t" for sign in question):
        found.append("holds invisible characters")
    return sorted(found)
