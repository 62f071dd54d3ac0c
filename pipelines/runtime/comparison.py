"""The form in which answers are compared."""

import re
import string


def normalize(text: str) -> str:
    """Lower case without punctuation, articles and surplus space, as in SQuAD.

    Source: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text".
    """
    letters = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    without_articles = re.sub(r"\b(a|an|the)\b", " ", letters)
    return " ".join(without_articles.split())


def sentences(text: str) -> list[str]:
    """The sentences of an answer; never empty."""
    parts = re.split(r"(?<=[.!?;])\s+", text.strip())
    return [part for part in parts if part] or [text]
