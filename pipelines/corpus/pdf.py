"""Knows PDF: text in reading order with its pages, headings by their size of type, tables as Markdown."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipelines.corpus.parts import Converted, Part, Unreadable, assembled, table

HEADING_RATIO = 1.15  # of the body's size of type
MOST_HEADING_CHARACTERS = 160
COLUMNS_FIRST = -0.5  # pdfminer's boxes_flow, -1 (a column after the other) to 1 (a line after the other); at its 0.5 the foot of a column comes too late
LEADERS = re.compile(r"\.{4,}")  # from a table of contents' entries to its page numbers
FEWEST_FILLED_CELLS = 0.5  # share; a frame of lines with fewer is layout, not a table


def pdf(content: bytes, max_pages: int) -> Converted:
    """A PDF's text. Raises Unreadable where it is encrypted, damaged, too long or holds pictures alone."""
    import pdfplumber
    from pdfminer.pdfdocument import PDFPasswordIncorrect

    try:
        with pdfplumber.open(io.BytesIO(content), laparams={"boxes_flow": COLUMNS_FIRST}) as opened:
            num_pages = len(opened.pages)
            if num_pages > max_pages:
                raise Unreadable(f"has {num_pages} pages, more than ingest.limits.max_pages ({max_pages}): split it, or raise the limit")
            title = str((opened.metadata or {}).get("Title") or "").strip()
            pages = [_blocks(page) for page in opened.pages]
    except Unreadable:
        raise
    except Exception as error:  # pdfminer raises dozens of kinds of errors on damaged files, some of them Python's own: each is a rejection
        if isinstance(error, MemoryError):
            raise
        causes = [error, error.__cause__, error.__context__, *error.args]
        if any(isinstance(cause, PDFPasswordIncorrect) for cause in causes):
            raise Unreadable("is encrypted with a password: save it without one") from error
        raise Unreadable(f"a damaged PDF: {type(error).__name__}: {str(error)[:200]}") from error
    try:
        found = assembled(_parts(pages))
    except Unreadable as error:
        raise Unreadable(f"its {num_pages} pages hold no text: scanned pictures need text recognition first") from error
    return found._replace(title=found.title or title or None)


Block = tuple[str, float]  # text, size of type in points (0: a table)


def _blocks(page: Any) -> list[Block]:
    """Text boxes in reading order, as pdfminer's layout analysis gives it, and tables in their place."""
    from pdfminer.layout import LTTextBox

    found = ((table_found.bbox, _without_empty_columns(table_found.extract())) for table_found in page.find_tables())
    tables = [(bbox, table(rows)) for bbox, rows in found if _is_table(rows)]
    blocks: list[Block] = []
    placed: set[int] = set()
    for box in page.layout:
        if not isinstance(box, LTTextBox):
            continue
        within = next((place for place, (bbox, _) in enumerate(tables) if _inside(box, bbox, page.height)), None)
        if within is None:
            blocks += _lines(box)
        elif within not in placed:
            placed.add(within)
            blocks.append((tables[within][1], 0.0))
    page.close()
    return blocks


def _is_table(rows: list[list[Any]]) -> bool:
    cells = [bool(cell and cell.strip()) for row in rows for cell in row]
    return len(rows) > 1 and max(map(len, rows)) > 1 and sum(cells) >= FEWEST_FILLED_CELLS * len(cells)


def _without_empty_columns(rows: list[list[Any]]) -> list[list[Any]]:
    used = [place for place in range(max(map(len, rows), default=0)) if any(place < len(row) and row[place] for row in rows)]
    return [[row[place] for place in used if place < len(row)] for row in rows]


def _inside(box: Any, bbox: tuple[float, float, float, float], height: float) -> bool:
    """Whether a text box's middle lies in a table. pdfminer counts from the page's foot, pdfplumber from its head."""
    across, down = (box.x0 + box.x1) / 2, height - (box.y0 + box.y1) / 2
    return bool(bbox[0] <= across <= bbox[2] and bbox[1] <= down <= bbox[3])


def _lines(box: Any) -> Iterator[Block]:
    """The box's lines, joined while their size of type stays the same."""
    from pdfminer.layout import LTChar, LTTextLine

    held: list[str] = []
    size = 0.0
    for line in (item for item in box if isinstance(item, LTTextLine)):
        sizes = Counter(round(char.size, 1) for char in line if isinstance(char, LTChar))
        text = LEADERS.sub(" ", line.get_text().replace("\0", "")).rstrip()
        if not text.strip() or not sizes:
            continue
        common = sizes.most_common(1)[0][0]
        if held and common != size:
            yield "\n".join(held), size
            held = []
        held.append(text)
        size = common
    if held:
        yield "\n".join(held), size


def _parts(pages: list[list[Block]]) -> Iterator[Part]:
    """Blocks as parts; larger type than the body's makes a heading, the largest the highest."""
    weights: Counter[float] = Counter()
    for block, size in (item for page in pages for item in page):
        weights[size] += len(block) if size else 0
    body = weights.most_common(1)[0][0] if weights else 0.0
    larger = sorted((size for size in weights if size > body * HEADING_RATIO), reverse=True)
    for page in pages:
        yield Part("page")
        for text, size in page:
            is_heading = size in larger and len(text) <= MOST_HEADING_CHARACTERS and any(character.isalpha() for character in text)
            yield Part("heading", text, larger.index(size) + 1) if is_heading else Part("text", text)
