"""Recognises running heads, running feet, page numbers and stamps: lines that pages repeat."""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from pipelines.corpus.pdf_glyphs import Box
from pipelines.corpus.pdf_lines import Segment

ZONE = 0.12  # of a page's height, at its top and at its bottom
NUM_LINES = 3  # the outermost ones at each end, which may be running
MIN_PAGES = 3  # that repeat a line; of a document of two pages, both
MIN_LARGE_SHARE = 0.6  # of the pages that repeat a line in a large font, if it is no heading
PAGE_NUMBER = re.compile(
    r"(?i)[-–—\s]*(?:page|p\.|seite|página|pagina|slide|folie)?\s*\d+(?:\s*(?:of|/|von|de|di|sur)"
    r"\s*\d+)?[-–—\s]*"
)
TOLERANCE = 4  # points by which the same line may move from page to page
MAX_DIGITS = 9  # of a page number
NUMBER = re.compile(r"\d+")
ROMAN_NUMBER = re.compile(r"[ivxlc]+", re.IGNORECASE)

Key = tuple[str, int]


class Sheet(NamedTuple):
    """The text of one page in the direction of its body, and the text at each other angle."""

    frame: Box
    segments: list[Segment]
    turned_groups: list[list[Segment]]


def find_running(sheets: list[Sheet], max_size: float) -> list[set[Segment]]:
    """The segments of each page that others repeat, but for a number that counts the pages.

    Those in a font larger than `max_size` may be headings: of these, only what most pages repeat is
    running, and its first occurrence stays. Pages with no text between head and foot do not count.
    """
    small = _find_repeated(sheets, lambda segment: segment.size <= max_size, MIN_PAGES)
    most_pages = max(MIN_PAGES, math.ceil(MIN_LARGE_SHARE * len(sheets)))
    large = _find_repeated(sheets, lambda segment: segment.size > max_size, most_pages)
    known_texts: set[str] = set()
    for segments, repeated in zip(small, large, strict=True):
        for segment in repeated:
            if segment.text in known_texts or PAGE_NUMBER.fullmatch(segment.text):
                segments.add(segment)
        known_texts.update(segment.text for segment in repeated)
    return small


def _find_repeated(
    sheets: list[Sheet], is_candidate: Callable[[Segment], bool], num_pages: int
) -> list[set[Segment]]:
    """The candidates among the outer segments of each page that so many pages repeat."""
    pages_of: dict[Key, set[int]] = defaultdict(set)
    keys_of_pages: list[dict[Segment, list[Key]]] = []
    for number, sheet in enumerate(sheets):
        keys = _candidates(number, sheet, is_candidate)
        keys_of_pages.append(keys)
        has_body = any(segment not in keys for segment in sheet.segments)
        for key in itertools.chain.from_iterable(keys.values()):
            if has_body:
                pages_of[key].add(number)
    min_pages = min(num_pages, max(2, len(sheets)))
    repeated_keys = {key for key, pages in pages_of.items() if len(pages) >= min_pages}
    running = []
    for keys in keys_of_pages:
        running.append(
            {segment for segment, candidates in keys.items() if repeated_keys & set(candidates)}
        )
    return running


def _candidates(
    number: int, sheet: Sheet, is_candidate: Callable[[Segment], bool]
) -> dict[Segment, list[Key]]:
    """The segments that may be running, by the keys that others would share with them."""
    keys: dict[Segment, list[Key]] = {}
    for segment in _outer_segments(sheet, is_candidate):
        height = segment.box.top - sheet.frame.top
        # Two overlapping steps, so that no movement within the tolerance is between two steps.
        steps = (2 * round(height / TOLERANCE), 2 * round(height / TOLERANCE + 0.5) + 1)
        keys[segment] = list(itertools.product(_patterns(segment.text, number), steps))
    for segment in itertools.chain.from_iterable(sheet.turned_groups):
        keys[segment] = list(itertools.product(_patterns(segment.text, number), [0]))
    return keys


def _outer_segments(sheet: Sheet, is_candidate: Callable[[Segment], bool]) -> list[Segment]:
    zone = ZONE * sheet.frame.height
    candidates = list(filter(is_candidate, sheet.segments))
    tops = sorted({segment.box.top for segment in candidates})
    outer_tops = {*tops[:NUM_LINES], *tops[-NUM_LINES:]}
    outer = []
    for segment in candidates:
        is_at_the_top = segment.box.bottom <= sheet.frame.top + zone
        is_at_the_bottom = segment.box.top >= sheet.frame.bottom - zone
        if segment.box.top in outer_tops and (is_at_the_top or is_at_the_bottom):
            outer.append(segment)
    return outer


def _patterns(text: str, page: int) -> set[str]:
    """The text as it is, and with each of its numbers as it is counted from the page's."""
    if ROMAN_NUMBER.fullmatch(text):
        return {"a Roman number"}
    patterns = {text}
    for match in NUMBER.finditer(text):
        distance = int(match[0][:MAX_DIGITS]) - page
        patterns.add(f"{text[: match.start()]}<page {distance:+}>{text[match.end() :]}")
    return patterns
