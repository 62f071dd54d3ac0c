"""Joins words that are hyphenated at the end of a line."""

import re
from collections import Counter
from collections.abc import Iterable

from pipelines.corpus.pdf_glyphs import HYPHEN

COMPOUND = re.compile(r"\w+(?:-\w+)*")
# The hyphens that a file may have at the end of a line; PDFium writes its own sign for most.
BREAK = re.compile(rf"(?P<head>\w+(?:-\w+)*)[{HYPHEN}\u00ad\u2010-]\n(?P<tail>\w+(?:-\w+)*)")
CUT_WORD = re.compile(rf"\w[{HYPHEN}\u00ad\u2010-]$")  # at the end of a column or page
SOFT_HYPHEN = "\u00ad"
MIN_PART = 3  # letters of a part that may be a word of its own, as in time-consuming


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs in one piece, in lower case; compounds with their hyphens."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(COMPOUND.findall(BREAK.sub(" ", text).lower()))
    return words


def join_hyphens(text: str, words: Counter[str]) -> str:
    """The text with its hyphenated words in one piece. `words` are those of the document."""

    def join(match: re.Match[str]) -> str:
        hyphen = "-" if _is_compound(match["head"], match["tail"], words) else ""
        return match["head"] + hyphen + match["tail"]

    return BREAK.sub(join, text).replace(HYPHEN, "-").replace(SOFT_HYPHEN, "")


def _is_compound(head: str, tail: str, words: Counter[str]) -> bool:
    """Whether the hyphen belongs to the word: by its form, or by the words of the document."""
    letters = head + tail
    if not letters.isalpha() or not tail[0].islower() or head.isupper():
        return True
    with_hyphen = words[f"{head}-{tail}".lower()]
    without_hyphen = words[letters.lower()]
    if with_hyphen or without_hyphen:
        return with_hyphen > without_hyphen
    if min(len(head), len(tail)) < MIN_PART:
        return False
    return words[head.lower()] > 0 and words[tail.lower()] > 0
