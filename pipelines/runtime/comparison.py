"""The form in which answers are compared."""

import re
import string
import unicodedata


def normalize(text: str) -> str:
    """Lower case without punctuation, articles and surplus space, as in SQuAD.

    Source: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text".
    Punctuation of all scripts counts, so that typographic quotes and dashes are worth as much as
    plain ones, and a letter is the same whether its accent is a character of its own (NFC) or not.
    """
    composed = unicodedata.normalize("NFC", text.lower())
    letters = "".join(letter for letter in composed if not _is_punctuation(letter))
    without_articles = re.sub(r"\b(a|an|the)\b", " ", letters)
    return " ".join(without_articles.split())


def _is_punctuation(letter: str) -> bool:
    """Marks, ASCII symbols such as `$` and `+`, and what is not visible, such as a soft hyphen."""
    if letter.isascii():
        return letter in string.punctuation
    category = unicodedata.category(letter)
    return category.startswith("P") or category == "Cf"


def sentences(text: str) -> list[str]:
    """The sentences of an answer; never empty."""
    parts = re.split(r"(?<=[.!?;])\s+", text.strip())
    return [part for part in parts if part] or [text]
