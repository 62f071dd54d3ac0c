"""Looks for what no answer may hold: keys and passwords, and the assistant's own prompt."""

import re
from typing import Any

from . import comparison, guard

SECRET = "answer holds a secret"  # noqa: S105 (a flag in the traffic log)
PROMPT = "answer holds the prompt"
NUM_WORDS = 8  # in a row, which an answer does not have in common with a prompt by chance
PLACEHOLDER = re.compile(r"\{\w+\}")
SECRETS = (
    guard.FLAGS["holds a secret"],
    re.compile(r"\bak-[0-9a-f]{12}-[A-Za-z0-9_-]{43}"),  # the gateway's keys
    re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}"),  # JSON Web Tokens
    re.compile(r"\bgithub_pat_\w{20,}|\bxox[abposr]-[\w-]{10,}|\bAIza[\w-]{35}"),
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s:/@]{1,64}:[^\s:/@]{3,64}@", re.IGNORECASE),
)


def flags(answer: str, prompt_phrases: frozenset[str]) -> list[str]:
    """What an answer holds; `prompt_phrases` as `phrases` gives them."""
    names: list[str] = []
    if any(pattern.search(answer) for pattern in SECRETS):
        names.append(SECRET)
    if prompt_phrases & _runs(answer):
        names.append(PROMPT)
    return names


def phrases(form: Any, refusals: list[str]) -> frozenset[str]:
    """The runs of words of a prompt: a text, or messages; those of refusals are no secret."""
    texts = [form] if isinstance(form, str) else [message["content"] for message in form]
    runs: set[str] = set()
    for text in texts:
        for part in PLACEHOLDER.split(text):
            runs |= _runs(part)
    for refusal in refusals:
        runs -= _runs(refusal)
    return frozenset(runs)


def _runs(text: str) -> set[str]:
    """Every run of NUM_WORDS words."""
    words = comparison.normalize(text).split()
    starts = range(len(words) - NUM_WORDS + 1)
    return {" ".join(words[start : start + NUM_WORDS]) for start in starts}
