"""Converts PDF files: text in reading order with its pages, headings by font size, tables."""

import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipelines.corpus.parts import (
    ConvertedDocument,
    Empty,
    Part,
    Unreadable,
    assemble,
    format_table,
)

HEADING_RATIO = 1.15  # to the font size of the body text
MAX_HEADING_CHARACTERS = 160
# pdfminer's boxes_flow, from -1 (column after column) to 1 (line after line). At its default of 0.5
# the foot of a column comes too late.
COLUMNS_FIRST = -0.5
LEADERS = re.compile(r"\.{4,}")  # between the entries and page numbers of a table of contents
MIN_FILLED_SHARE = 0.5  # of the cells; a frame of lines with fewer is layout, not a table


class Block(NamedTuple):
    """Text of one font size in points; a table has the size 0."""

    text: str
    size: float


class TableArea(NamedTuple):
    """A table as Markdown, and its box in pdfplumber's coordinates."""

    box: tuple[float, float, float, float]
    text: str


def convert_pdf(content: bytes, max_pages: int) -> ConvertedDocument:
    """The text of a PDF. Raises Unreadable if it is encrypted, damaged, too long or only images."""
    title, pages = _read(content, max_pages)
    try:
        document = assemble(_parts(pages))
    except Empty as error:
        raise Unreadable(
            f"its {len(pages)} pages hold no text: scanned pictures need text recognition first"
        ) from error
    return document._replace(title=document.title or title or None)


def _read(content: bytes, max_pages: int) -> tuple[str, list[list[Block]]]:
    """The title in the metadata, and the blocks of each page."""
    import pdfplumber

    try:
        with pdfplumber.open(io.BytesIO(content), laparams={"boxes_flow": COLUMNS_FIRST}) as file:
            num_pages = len(file.pages)
            if num_pages > max_pages:
                raise Unreadable(
                    f"has {num_pages} pages, more than ingest.limits.max_pages ({max_pages}): "
                    "split it, or raise the limit"
                )
            metadata = file.metadata or {}
            title = str(metadata.get("Title") or "").strip()
            return title, list(map(_blocks, file.pages))
    except (Unreadable, MemoryError):
        raise
    # On damaged files, pdfminer raises dozens of kinds of errors, some of them Python's own: each
    # is a rejection.
    except Exception as error:
        raise Unreadable(_explain(error)) from error


def _explain(error: Exception) -> str:
    from pdfminer.pdfdocument import PDFPasswordIncorrect

    causes = [error, error.__cause__, error.__context__, *error.args]
    if any(isinstance(cause, PDFPasswordIncorrect) for cause in causes):
        return "is encrypted with a password: save it without one"
    return f"a damaged PDF: {type(error).__name__}: {str(error)[:200]}"


def _blocks(page: Any) -> list[Block]:
    """Text boxes in the reading order of pdfminer's layout analysis, and tables among them."""
    from pdfminer.layout import LTTextBox

    tables = _tables(page)
    blocks: list[Block] = []
    written_tables: set[TableArea] = set()
    for box in page.layout:
        if not isinstance(box, LTTextBox):
            continue
        table = next((table for table in tables if _is_inside(box, table, page.height)), None)
        if table is None:
            blocks += _lines(box)
        elif table not in written_tables:
            written_tables.add(table)
            blocks.append(Block(table.text, 0.0))
    page.close()
    return blocks


def _tables(page: Any) -> list[TableArea]:
    tables = []
    for table in page.find_tables():
        rows = _drop_empty_columns(table.extract())
        if _is_table(rows):
            tables.append(TableArea(table.bbox, format_table(rows)))
    return tables


def _is_table(rows: list[list[Any]]) -> bool:
    if len(rows) < 2 or max(map(len, rows)) < 2:
        return False
    cells = list(itertools.chain.from_iterable(rows))
    num_filled = sum(map(_has_text, cells))
    return num_filled >= MIN_FILLED_SHARE * len(cells)


def _has_text(cell: str | None) -> bool:
    return bool(cell and cell.strip())


def _drop_empty_columns(rows: list[list[Any]]) -> list[list[Any]]:
    filled_columns: set[int] = set()
    for row in rows:
        filled_columns.update(itertools.compress(itertools.count(), row))
    narrow_rows = []
    for row in rows:
        narrow_rows.append([cell for column, cell in enumerate(row) if column in filled_columns])
    return narrow_rows


def _is_inside(box: Any, table: TableArea, page_height: float) -> bool:
    """Whether the middle of a text box lies in a table.

    pdfminer counts from the bottom of the page, pdfplumber from the top.
    """
    x_min, y_min, x_max, y_max = table.box
    x = (box.x0 + box.x1) / 2
    y = page_height - (box.y0 + box.y1) / 2
    return bool(x_min <= x <= x_max and y_min <= y <= y_max)


def _lines(box: Any) -> Iterator[Block]:
    """The lines of a text box, joined while their font size stays the same."""
    from pdfminer.layout import LTTextLine

    block_lines: list[str] = []
    block_size = 0.0
    for line in box:
        if not isinstance(line, LTTextLine):
            continue
        size = _font_size(line)
        text = LEADERS.sub(" ", line.get_text().replace("\0", "")).rstrip()
        if not text.strip() or size is None:
            continue
        if block_lines and size != block_size:
            yield Block("\n".join(block_lines), block_size)
            block_lines = []
        block_lines.append(text)
        block_size = size
    if block_lines:
        yield Block("\n".join(block_lines), block_size)


def _font_size(line: Any) -> float | None:
    """The most frequent size among the characters of a line, in points."""
    from pdfminer.layout import LTChar

    sizes = Counter(round(char.size, 1) for char in line if isinstance(char, LTChar))
    return sizes.most_common(1)[0][0] if sizes else None


def _parts(pages: list[list[Block]]) -> Iterator[Part]:
    """Blocks as parts; a font larger than the body's makes a heading, the largest the highest."""
    heading_sizes = _heading_sizes(pages)
    for page in pages:
        yield Part("page")
        for block in page:
            if block.size in heading_sizes and _is_short_text(block.text):
                yield Part("heading", block.text, heading_sizes.index(block.size) + 1)
            else:
                yield Part("text", block.text)


def _heading_sizes(pages: list[list[Block]]) -> list[float]:
    """The font sizes of headings, largest first. The body's is that of the most characters."""
    num_characters: Counter[float] = Counter()
    for page in pages:
        for block in page:
            num_characters[block.size] += len(block.text) if block.size else 0
    if not num_characters:
        return []
    body_size = num_characters.most_common(1)[0][0]
    larger_sizes = (size for size in num_characters if size > body_size * HEADING_RATIO)
    return sorted(larger_sizes, reverse=True)


def _is_short_text(text: str) -> bool:
    return len(text) <= MAX_HEADING_CHARACTERS and any(map(str.isalpha, text))
