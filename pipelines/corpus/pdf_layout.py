"""Orders the text of a PDF page: paragraphs, tables, columns."""

import itertools
import statistics
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.corpus.pdf_glyphs import Box, enclose
from pipelines.corpus.pdf_grids import Table
from pipelines.corpus.pdf_lines import Segment
from pipelines.corpus.pdf_rows import LINE_GAP, MIN_ROWS, horizontal_gap, line_gap, take_rows

MAX_LINE_GAP = 2.0  # font sizes between lines that tell the page's usual gap
LINE_GAP_RATIO = 1.15  # to the page's usual gap, between lines of a paragraph
NUM_OPEN_BLOCKS = 4  # the last ones, which a line may go on with
MIN_GUTTER = 6.0  # points between two columns
MIN_COLUMN_SHARE = 0.15  # of the width of what is cut into columns


class Block(NamedTuple):
    """Text of one font size in points; a table has the size 0."""

    text: str
    size: float
    box: Box


def order_blocks(segments: list[Segment], tables: list[Table]) -> list[Block]:
    """The paragraphs and tables of a page in reading order."""
    row_tables, lines = take_rows(segments)
    blocks = [Block(table.text, 0.0, table.box) for table in [*tables, *row_tables]]
    return list(_reading_order(blocks + list(_paragraphs(lines))))


def _paragraphs(lines: list[Segment]) -> Iterator[Block]:
    """Lines of one font size that stand below each other, joined."""
    max_gap = max(LINE_GAP, LINE_GAP_RATIO * _usual_gap(lines))
    groups: list[list[Segment]] = []
    for line in lines:
        open_groups = groups[-NUM_OPEN_BLOCKS:]
        group = next((group for group in open_groups if _continues(group[-1], line, max_gap)), None)
        if group is None:
            groups.append([line])
        else:
            group.append(line)
    for group in groups:
        text = "\n".join(line.text for line in group)
        yield Block(text, group[0].size, enclose([line.box for line in group]))


def _usual_gap(lines: list[Segment]) -> float:
    """The median gap between lines of one size that follow each other, in font sizes."""
    gaps = []
    for above, below in itertools.pairwise(lines):
        gap = line_gap(above, below)
        if above.size == below.size and abs(gap) < MAX_LINE_GAP:
            gaps.append(gap)
    return statistics.median(gaps) if gaps else 0.0


def _continues(above: Segment, below: Segment, max_gap: float) -> bool:
    is_below = horizontal_gap(above.box, below.box) <= 0
    return above.size == below.size and is_below and -0.5 < line_gap(above, below) < max_gap


def _reading_order(blocks: list[Block]) -> Iterator[Block]:
    """Columns from left to right, and what stands in none from top to bottom.

    Recursive cuts along white space (Nagy and Seth 1984), between columns where there are any, else
    at the widest gap from top to bottom. What no cut divides keeps the file's order.
    """
    pieces = [blocks]  # the last one comes first
    while pieces:
        piece = pieces.pop()
        parts = None
        if len(piece) > 1:
            parts = _cut_columns(piece) or _cut_rows(piece)
        if parts is None:
            yield from piece
        else:
            pieces += reversed(parts)


def _cut_columns(blocks: list[Block]) -> tuple[list[Block], list[Block]] | None:
    """The blocks on the left and right of the widest gutter between columns; None without one."""
    frame = enclose([block.box for block in blocks])
    spans = [(block.box.x0, block.box.x1) for block in blocks]
    gap = _widest_gap(spans)
    if gap is None or gap[0] < MIN_GUTTER:
        return None
    middle = gap[1]
    left_blocks = [block for block in blocks if block.box.x1 <= middle]
    right_blocks = [block for block in blocks if block.box.x1 > middle]
    for side in (left_blocks, right_blocks):
        box = enclose([block.box for block in side])
        num_lines = sum(block.text.count("\n") + 1 for block in side)
        if box.width < MIN_COLUMN_SHARE * frame.width or num_lines < MIN_ROWS:
            return None
    return left_blocks, right_blocks


def _cut_rows(blocks: list[Block]) -> tuple[list[Block], list[Block]] | None:
    spans = [(block.box.top, block.box.bottom) for block in blocks]
    gap = _widest_gap(spans)
    if gap is None:
        return None
    middle = gap[1]
    above = [block for block in blocks if block.box.bottom <= middle]
    return above, [block for block in blocks if block.box.bottom > middle]


def _widest_gap(spans: list[tuple[float, float]]) -> tuple[float, float] | None:
    """The size and middle of the widest range that no span covers; None if there is none."""
    gaps = []
    reach = None
    for start, end in sorted(spans):
        if reach is not None and start >= reach:
            gaps.append((start - reach, (start + reach) / 2))
        reach = end if reach is None else max(reach, end)
    return max(gaps, default=None)
