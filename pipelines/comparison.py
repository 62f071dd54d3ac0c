"""Knows in what form answers are compared. The export copies this file into the Triton models: it imports nothing of ours."""

import re
import string


def normalized(text: str) -> str:
    """Lower case without punctuation, articles and surplus space, as SQuAD compares answers (Rajpurkar et al. 2016)."""
    bare = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def sentences(text: str) -> list[str]:
    """Sentences of an answer; never empty."""
    return [part for part in re.split(r"(?<=[.!?;])\s+", text.strip()) if part] or [text]
