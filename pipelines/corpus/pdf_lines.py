"""Joins the characters of a PDF page to pieces of lines, each of one column."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.corpus.pdf_glyphs import Box, Glyph, enclose

# Font sizes between two words of a line; what is further apart are two columns. LaTeX and reportlab
# leave 1.2 between a column's widest cell and the next column, Word 1.0.
MAX_GAP = 0.9
SUPERSCRIPT_SIZE = 0.8  # of the size of the digit before it, at most
LEADERS = re.compile(r"\s*(\.\s?){4,}")  # between the entries and pages of a table of contents
LIST_MARK = re.compile(r"[•◦▪■●○‣·*–—-]|\(?[0-9a-zA-Z]{1,3}[.)]|(\d{1,3}\.){2,}(\d{1,3})?")


class Segment(NamedTuple):
    """Words that stand side by side in a line; the size is that of most of their characters."""

    text: str
    box: Box
    size: float


def join_glyphs(glyphs: list[Glyph]) -> list[Segment]:
    """The segments in the file's order. What is drawn twice in the same place is read once."""
    segments = []
    for run in _runs(glyphs):
        text = LEADERS.sub(" ", _text(run)).strip()
        if text:
            box = enclose([glyph.box for glyph in run])
            segments.append(Segment(text, box, _frequent_size(run)))
    return list(dict.fromkeys(segments))


def _runs(glyphs: list[Glyph]) -> Iterator[list[Glyph]]:
    run: list[Glyph] = []
    for glyph in glyphs:
        if run and not _continues(run, glyph):
            yield run
            run = []
        run.append(glyph)
    if run:
        yield run


def _continues(run: list[Glyph], glyph: Glyph) -> bool:
    """Whether a character stands in the same line as those before, and near the last of them."""
    last = run[-1]
    if not last.box.is_level_with(glyph.box):
        return False
    size = max(last.size, glyph.size)
    if _gap(last, glyph) <= MAX_GAP * size:
        return True
    is_to_the_right = glyph.box.x0 > last.box.x0
    return is_to_the_right and bool(LIST_MARK.fullmatch(_text(run)))


def _gap(last: Glyph, glyph: Glyph) -> float:
    """Points between two characters, whichever is on the left."""
    return max(glyph.box.x0 - last.box.x1, last.box.x0 - glyph.box.x1)


def _text(run: list[Glyph]) -> str:
    pieces = [run[0].text]
    for last, glyph in itertools.pairwise(run):
        if _is_power(last, glyph):
            pieces.append("^")
        elif glyph.is_word_start:
            pieces.append(" ")
        pieces.append(glyph.text)
    text = "".join(pieces)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_power(last: Glyph, glyph: Glyph) -> bool:
    """Whether a digit is raised behind another, as in 10^6."""
    if not (last.text.isdigit() and glyph.text.isdigit()):
        return False
    is_small = glyph.size <= SUPERSCRIPT_SIZE * last.size
    return is_small and glyph.box.bottom < last.box.bottom - 0.2 * last.size


def _frequent_size(run: list[Glyph]) -> float:
    sizes = Counter(glyph.size for glyph in run)
    return sizes.most_common(1)[0][0]
