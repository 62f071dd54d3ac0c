"""Reads one document: its type, text, sections, pages, language, and what later rules measure.

Runs inside a worker process (workers.py). Everything it returns depends on the content alone.
"""

from collections import Counter
from typing import Any, NamedTuple

from pipelines.corpus import scripts
from pipelines.corpus.detection import detect_media_type
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.front_matter import demand_no_readers
from pipelines.corpus.parts import Unreadable

NUM_PERMUTATIONS = 64
SCHEME = "affine32"  # of the permutations; part of what a signature means
SHINGLE_WORDS = 5
LANGUAGE_CHARACTERS = 4000  # decide the language: more changes nothing and costs time
MOJIBAKE_CHARACTERS = 20000
FRAME_CHARACTERS = "|-:;,.%+ \t\n"  # around numbers in tables, which say more than a dump does
MIN_LINE_CHARACTERS = 21  # of a line that counts as a repetition; shorter ones recur by chance


class Task(NamedTuple):
    """A document to read."""

    content: bytes
    name: str
    hint: str | None  # media type that the source states; it decides only between kinds of text
    title: str | None
    bounds: Bounds


def read(task: Task) -> dict[str, Any]:
    """The document as JSON values, or {"rejected": reason, ...} if it cannot become text."""
    media_type = None
    try:
        media_type = detect_media_type(task.content, task.name, task.hint)
        document = convert(task.content, media_type, task.bounds)
        demand_no_readers(task.content, document.text, media_type)
    except Unreadable as error:
        return {"rejected": str(error), "media_type": media_type}
    return {
        "text": document.text,
        "title": task.title or document.title,
        "sections": document.sections,
        "pages": document.pages,
        "media_type": media_type,
        "language": detect_language(document.text),
        "left_out": document.left_out,
        "readers": document.readers,
        "num_words": scripts.count_words(document.text),
        "measures": measure(document.text),
        "signature": compute_signature(document.text),
    }


def detect_language(text: str) -> str:
    """ISO 639-1 code of the text's beginning."""
    from py3langid.langid import classify

    return str(classify(text[:LANGUAGE_CHARACTERS])[0])


def measure(text: str) -> dict[str, float]:
    """What the quality rules look at; the last three after Rae et al. 2021 (Gopher, table A1)."""
    from ftfy.badness import badness

    stripped_lines = [line.strip() for line in text.splitlines()]
    lines = list(filter(None, stripped_lines))
    num_characters = sum(map(len, lines)) or 1
    num_letters = sum(map(str.isalpha, text))
    num_symbols = len(text) - sum(map(str.isdigit, text)) - sum(map(text.count, FRAME_CHARACTERS))
    sample = text[:MOJIBAKE_CHARACTERS]
    return {
        "characters": len(text.strip()),
        "replacement_share": round(text.count("\ufffd") / len(text), 6),
        "mojibake_share": round(badness(sample) / len(sample), 6),
        "repeated_line_share": round(_count_repeated(lines) / num_characters, 6),
        "letter_share": round(num_letters / max(1, num_symbols), 6),
    }


def _count_repeated(lines: list[str]) -> int:
    """Characters in lines that occurred before."""
    num_characters = 0
    for line, count in Counter(lines).items():
        if len(line) >= MIN_LINE_CHARACTERS:
            num_characters += len(line) * (count - 1)
    return num_characters


def compute_signature(text: str) -> str:
    """MinHash (Broder 1997) of the text's word 5-grams, in lower case.

    NUM_PERMUTATIONS little-endian 32-bit numbers in hexadecimal, which take a fifth of the memory
    of a list of them.
    """
    from datasketch import MinHash

    words = scripts.split_words(text.lower())
    shingles: set[bytes] = set()
    for start in range(max(1, len(words) - SHINGLE_WORDS + 1)):
        shingle = " ".join(words[start : start + SHINGLE_WORDS])
        shingles.add(shingle.encode("utf-8", "replace"))
    min_hash = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme=SCHEME)
    min_hash.update_batch(sorted(shingles))
    numbers: bytes = min_hash.hashvalues.astype("<u4").tobytes()
    return numbers.hex()
