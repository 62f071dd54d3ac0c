"""Knows how one document is read: its type, text, sections, pages, language, and the measures and signature that later rules need.

Runs inside a worker process (workers.py); everything that it returns depends on the content alone.
"""

import re
from collections import Counter
from typing import Any, NamedTuple

from pipelines.corpus.detection import media_type
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import Unreadable

NUM_PERMUTATIONS = 64
SCHEME = "affine32"  # of the permutations; part of what a signature means
SHINGLE_WORDS = 5
LANGUAGE_CHARACTERS = 4000  # decide the language: more changes nothing and costs time
MOJIBAKE_CHARACTERS = 20000


class Task(NamedTuple):
    """A document to read: its content, its name, the media type that its source says (for kinds of text alone)."""

    content: bytes
    name: str
    hint: str | None
    title: str | None
    bounds: Bounds


def read(task: Task) -> dict[str, Any]:
    """The document as JSON values, or {"rejected": reason}. Only a document's own faults are caught here."""
    kind = ""
    try:
        kind = media_type(task.content, task.name, task.hint)
        found = convert(task.content, kind, task.bounds)
    except Unreadable as error:
        return {"rejected": str(error), "media_type": kind or None}
    row: dict[str, Any] = {"text": found.text, "title": task.title or found.title, "sections": found.sections, "pages": found.pages, "media_type": kind}
    return row | {"language": language(found.text), "measures": measures(found.text), "signature": signature(found.text)}


def language(text: str) -> str:
    """ISO 639-1 code of the text's beginning."""
    from py3langid.langid import classify

    return str(classify(text[:LANGUAGE_CHARACTERS])[0])


def measures(text: str) -> dict[str, float]:
    """What the quality rules look at, the last three after Rae et al. 2021 (Gopher, table A1)."""
    from ftfy.badness import badness

    lines = [line.strip() for line in text.splitlines() if line.strip()]
    characters = sum(map(len, lines)) or 1
    repeated = Counter(lines)
    sample = text[:MOJIBAKE_CHARACTERS]
    return {
        "characters": len(text.strip()),
        "replacement_share": round(text.count("\ufffd") / len(text), 6),
        "mojibake_share": round(badness(sample) / len(sample), 6),
        "repeated_line_share": round(sum(len(line) * (count - 1) for line, count in repeated.items() if len(line) > 20) / characters, 6),
        "letter_share": round(sum(map(str.isalpha, text)) / characters, 6),
    }


def signature(text: str) -> str:
    """MinHash (Broder 1997) of the text's word 5-grams, in lower case: NUM_PERMUTATIONS little-endian 32-bit numbers in hexadecimal, a fifth of what a list of them takes in memory."""
    from datasketch import MinHash

    words = re.findall(r"\w+", text.lower())
    shingles = {" ".join(words[place : place + SHINGLE_WORDS]).encode("utf-8", "replace") for place in range(max(1, len(words) - SHINGLE_WORDS + 1))}
    made = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme=SCHEME)
    made.update_batch(sorted(shingles))
    numbers: bytes = made.hashvalues.astype("<u4").tobytes()
    return numbers.hex()
