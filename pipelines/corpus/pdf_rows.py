"""Recognises tables without lines on a PDF page, by the columns in which their cells stand.

A file draws such a table row by row and cell by cell, or column by column, and columns of prose one
after the other. So what stands side by side and follows each other in the file is a row.
"""

import itertools
import statistics
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.corpus.parts import format_table
from pipelines.corpus.pdf_glyphs import Box, enclose
from pipelines.corpus.pdf_grids import Table
from pipelines.corpus.pdf_lines import Segment

MIN_ROWS = 3  # of several cells each, that make a table
MAX_ROW_GAP = 2.0  # font sizes between two rows of a table
LINE_GAP = 0.6  # font sizes between two lines of a cell or paragraph
WRAP_GAP = 0.4  # font sizes; a row that is nearer may go on with the cells of the row before
MIN_PROSE_ROWS = 4  # from which columns of text are no table
MIN_PROSE_WORDS = 3  # a line, in the median
MIN_PROSE_FILL = 0.7  # of a column's width that its lines take, in the median

Columns = list[tuple[float, float]]  # from left to right


class Cell(NamedTuple):
    """Lines of one font size below each other."""

    lines: list[Segment]

    @property
    def box(self) -> Box:
        return enclose([line.box for line in self.lines])

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)


Row = list[Cell]


def horizontal_gap(box: Box, neighbor: Box) -> float:
    """Points between two boxes from left to right; negative if one stands above the other."""
    return max(neighbor.x0 - box.x1, box.x0 - neighbor.x1)


def line_gap(above: Segment, below: Segment) -> float:
    """Font sizes between two lines."""
    return (below.box.top - above.box.bottom) / max(1.0, below.size)


def take_rows(segments: list[Segment]) -> tuple[list[Table], list[Segment]]:
    """The tables, and the lines outside of all of them. Both keep the file's order."""
    tables: list[Table] = []
    lines: list[Segment] = []
    rows = list(_rows(segments))
    position = 0
    while position < len(rows):
        run = _aligned_rows(rows, position)
        columns = _columns(run)
        if _count_full(run) < MIN_ROWS:
            lines += _join(rows[position])
            position += 1
            continue
        if _is_prose(run, columns):
            lines += [line for row in run for cell in row for line in cell.lines]
        else:
            box = enclose([cell.box for row in run for cell in row])
            tables.append(Table(format_table(_texts(run, columns)), box))
        position += len(run)
    return tables, lines


def _rows(segments: list[Segment]) -> Iterator[Row]:
    row: Row = []
    for cell in _cells(segments):
        if row and not _stands_beside(cell, row):
            yield from _split(row)
            row = []
        row.append(cell)
    if row:
        yield from _split(row)


def _cells(segments: list[Segment]) -> list[Cell]:
    """Lines that follow each other in the file and stand below each other, together."""
    cells: list[Cell] = []
    for segment in segments:
        if cells and _goes_on(cells[-1].lines[-1], segment):
            if not _is_below_both(cells[-2:], segment):
                cells[-1].lines.append(segment)
                continue
        elif cells and _goes_on(segment, cells[-1].lines[0]):  # pages turned by 90 degrees
            cells[-1].lines.insert(0, segment)
            continue
        if cells and len(cells[-1].lines) > 1 and _is_beside_last_line(cells[-1], segment):
            cells.append(Cell([cells[-1].lines.pop()]))  # it is a row's first cell
        cells.append(Cell([segment]))
    return cells


def _goes_on(above: Segment, below: Segment) -> bool:
    is_below = horizontal_gap(above.box, below.box) <= 0
    return above.size == below.size and is_below and -0.5 < line_gap(above, below) < LINE_GAP


def _is_below_both(cells: list[Cell], segment: Segment) -> bool:
    """Whether a line reaches below two cells side by side, so that it goes on with neither."""
    first, last = cells[0], cells[-1]
    is_row = first.lines[-1].box.is_level_with(last.lines[0].box)
    return first is not last and is_row and horizontal_gap(first.box, segment.box) <= 0


def _is_beside_last_line(cell: Cell, segment: Segment) -> bool:
    first, *_, last = cell.lines
    return segment.box.is_level_with(last.box) and not segment.box.is_level_with(first.box)


def _stands_beside(cell: Cell, row: Row) -> bool:
    if not cell.box.is_level_with(row[0].box):
        return False
    return all(horizontal_gap(member.box, cell.box) > 0 for member in row)


def _split(row: Row) -> Iterator[Row]:
    """A row as it is; columns with as many lines as each other, as so many rows."""
    ordered_row = sorted(row, key=lambda cell: cell.box.x0)
    num_lines = len(row[0].lines)
    if len(row) < 2 or num_lines < MIN_ROWS or not _are_level(ordered_row):
        yield ordered_row
        return
    for number in range(num_lines):
        yield [Cell([cell.lines[number]]) for cell in ordered_row]


def _are_level(row: Row) -> bool:
    """Whether all cells have the same number of lines, each beside those of the others."""
    first_lines = row[0].lines
    for cell in row[1:]:
        if len(cell.lines) != len(first_lines):
            return False
        pairs = zip(first_lines, cell.lines, strict=True)
        if not all(first.box.is_level_with(line.box) for first, line in pairs):
            return False
    return True


def _join(row: Row) -> list[Segment]:
    """A row that is in no table: its words in one line, if each cell is a line."""
    lines = [line for cell in row for line in cell.lines]
    if len(row) == 1 or len(lines) > len(row):
        return lines
    text = " ".join(line.text for line in lines)
    longest = max(lines, key=lambda line: len(line.text))
    return [Segment(text, enclose([line.box for line in lines]), longest.size)]


def _aligned_rows(rows: list[Row], first: int) -> list[Row]:
    """The rows from `first` on, as far as they stand in the same columns."""
    run: list[Row] = []
    for row in itertools.islice(rows, first, None):
        if run and not _fits_below(run, row):
            break
        run.append(row)
        if len(_columns(run)) < 2:
            return run
    while len(run) > 1 and len(run[-1]) == 1 and run[-1][0].box.x0 <= run[0][0].box.x1:
        run.pop()
    return run


def _fits_below(run: list[Row], row: Row) -> bool:
    size = row[0].lines[0].size
    gap = _gap_between(run[-1], row)
    if not -size < gap < MAX_ROW_GAP * size:
        return False
    columns = _columns(run)
    merged_columns = _columns([*run, row])
    if len(merged_columns) < len(columns):
        return False
    if len(row) > 1:
        return True
    is_first_column = row[0].box.x0 <= columns[0][1]
    return len(merged_columns) == len(columns) and (not is_first_column or gap < WRAP_GAP * size)


def _gap_between(above: Row, below: Row) -> float:
    """Points between two rows."""
    top = min(cell.box.top for cell in below)
    return top - max(cell.box.bottom for cell in above)


def _columns(rows: list[Row]) -> Columns:
    """The ranges that the cells of these rows cover together."""
    ranges = sorted((cell.box.x0, cell.box.x1) for row in rows for cell in row)
    columns: Columns = []
    for x0, x1 in ranges:
        if columns and x0 <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], x1))
        else:
            columns.append((x0, x1))
    return columns


def _count_full(run: list[Row]) -> int:
    return sum(len(row) > 1 for row in run)


def _is_prose(run: list[Row], columns: Columns) -> bool:
    """Whether the rows are lines of text in columns, which are read one after the other."""
    if len(run) < MIN_PROSE_ROWS:
        return False
    cells = list(itertools.chain.from_iterable(run))
    for x0, x1 in columns:
        lines = [line for cell in cells if x0 <= cell.box.x0 <= x1 for line in cell.lines]
        num_words = statistics.median(len(line.text.split()) for line in lines)
        width = statistics.median(line.box.width for line in lines)
        if num_words < MIN_PROSE_WORDS or width < MIN_PROSE_FILL * (x1 - x0):
            return False
    return True


def _texts(run: list[Row], columns: Columns) -> list[list[str]]:
    """The table's cells; a row that only goes on with cells of the one before is added to them."""
    rows: list[list[str]] = []
    above = run[0]
    for row in run:
        cells = [_text_in(row, column) for column in columns]
        if rows and not cells[0] and _is_wrapped(above, row):
            pairs = zip(rows[-1], cells, strict=True)
            rows[-1] = [f"{before}\n{after}".strip() for before, after in pairs]
        else:
            rows.append(cells)
        above = row
    return rows


def _text_in(row: Row, column: tuple[float, float]) -> str:
    x0, x1 = column
    return "\n".join(cell.text for cell in row if x0 <= cell.box.x0 <= x1)


def _is_wrapped(above: Row, row: Row) -> bool:
    """Whether a row without a first cell goes on with the sentences of the row above."""
    if _gap_between(above, row) > WRAP_GAP * row[0].lines[0].size:
        return False
    return len(row) == 1 or any(cell.text[0].islower() for cell in row)
