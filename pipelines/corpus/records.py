"""Rows of sheets and CSV files as lines that name their columns.

A passage of such lines can be understood without the sheet's head.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.corpus.parts import Part

ROWS_A_SECTION = 100  # of a longer table; a heading with their numbers says where a row stands
SAMPLE_ROWS = 20  # at the top decide how wide a table is
NUMBER = re.compile(
    r"[^\w\s]?[-+−(]*[^\w\s]?\d[\d.,:/'’ \u00a0\u202fTZ+-]*([eE][-+]?\d+)?[\s)%‰€$£¥]*"
)


class SheetRow(NamedTuple):
    """A row with its number in the sheet, from 1, and the texts of its filled cells by column.

    `wide_columns` maps the first column of a cell that spans columns to its last one.
    """

    number: int
    cells: dict[int, str]
    wide_columns: dict[int, int] = {}


class Line(NamedTuple):
    """A line of the text. `number` is that of its row."""

    number: int
    text: str


@dataclass
class Names:
    """Names of the columns; `line` is the head's own, for the case that no record has them."""

    by_column: dict[int, str] = field(default_factory=dict)
    line: Line | None = None


def format_rows(rows: Iterable[SheetRow]) -> Iterator[Part]:
    """The parts of a sheet: captions around its tables, and `- column: value; ...` for each row.

    The first row that fills half of the columns names them; so does, after an empty row, a row of
    texts above one with numbers. A head without rows is a line of its own.
    """
    blocks = list(_split_blocks(rows))
    width = max((len(row.cells) for block in blocks for row in block[:SAMPLE_ROWS]), default=0)
    lines: list[Line] = []
    names = Names()
    for block in blocks:
        if width > 1 and all(len(row.cells) == 1 for row in block):
            lines += map(_caption, block)
        else:
            names = _format_block(block, names, lines)
    lines += filter(None, [names.line])
    if len(lines) <= ROWS_A_SECTION:
        yield _join(lines)
        return
    for start in range(0, len(lines), ROWS_A_SECTION):
        section = lines[start : start + ROWS_A_SECTION]
        yield Part("heading", f"Rows {section[0].number} to {section[-1].number}", 2)
        yield _join(section)


def _join(lines: list[Line]) -> Part:
    text = "".join(line.text for line in lines)
    return Part("text", re.sub(r"\n{3,}", "\n\n", text))


def _split_blocks(rows: Iterable[SheetRow]) -> Iterator[list[SheetRow]]:
    """Runs of rows without an empty one between them; empty cells are left out."""
    block: list[SheetRow] = []
    for row in rows:
        cells = {column: text for column, text in row.cells.items() if text.strip()}
        if block and (not cells or row.number > block[-1].number + 1):
            yield block
            block = []
        if cells:
            block.append(row._replace(cells=cells))
    if block:
        yield block


def _format_block(block: list[SheetRow], names: Names, lines: list[Line]) -> Names:
    """Add the lines of a block; returns the names of its columns, `names` if it has none."""
    head = _find_head(block, is_first=not names.by_column)
    records = block
    if head is not None:
        lines += filter(None, [names.line])
        by_column = _name_columns(block, head)
        captions = block[: head - 1] if _groups_columns(block, head) else block[:head]
        lines += map(_caption, captions)
        records = block[head + 1 :]
        names = Names(by_column, _bullet(block[head].number, by_column.values()))
    for row in records:
        lines.append(_bullet(row.number, _format_pairs(names.by_column, row)))
    return Names(names.by_column) if records else names


def _caption(row: SheetRow) -> Line:
    return Line(row.number, f"\n{'; '.join(map(_collapse, row.cells.values()))}\n\n")


def _bullet(number: int, values: Iterable[str]) -> Line:
    return Line(number, f"- {'; '.join(values)}\n")


def _find_head(block: list[SheetRow], is_first: bool) -> int | None:
    """The row of a block that names its columns; None if the names above go on."""
    head = _first_wide_row(block)
    if is_first:
        if head and not _is_text(block[head]):
            head -= 1  # a row with numbers is a record, and its names stand above it
        spans_columns = any(last > first for first, last in block[head].wide_columns.items())
        return head + 1 if spans_columns and head + 1 < len(block) else head
    is_above_numbers = head + 1 < len(block) and not _is_text(block[head + 1])
    return head if _is_text(block[head]) and is_above_numbers else None


def _first_wide_row(block: list[SheetRow]) -> int:
    """The first row that fills half of the columns, and more than one of several."""
    width = max(len(row.cells) for row in block[:SAMPLE_ROWS])
    least = max((width + 1) // 2, min(width, 2))
    return next(number for number, row in enumerate(block) if len(row.cells) >= least)


def _is_text(row: SheetRow) -> bool:
    return not any(map(NUMBER.fullmatch, row.cells.values()))


def _groups_columns(block: list[SheetRow], head: int) -> bool:
    """Whether the row above the head names groups of its columns."""
    if head == 0:
        return False
    group_row = block[head - 1]
    widths = [last - first + 1 for first, last in group_row.wide_columns.items()]
    return bool(widths) and max(widths) < len(block[head].cells)


def _name_columns(block: list[SheetRow], head: int) -> dict[int, str]:
    names = {column: _collapse(text) for column, text in block[head].cells.items()}
    if not _groups_columns(block, head):
        return names
    groups: dict[int, str] = {}
    for first, text in block[head - 1].cells.items():
        last = block[head - 1].wide_columns.get(first, first)
        groups |= dict.fromkeys(range(first, last + 1), _collapse(text))
    for column in sorted(names.keys() | groups.keys()):
        words = [groups.get(column, ""), names.get(column, "")]
        names[column] = " ".join(dict.fromkeys(filter(None, words)))
    return names


def _format_pairs(names: dict[int, str], row: SheetRow) -> Iterator[str]:
    """`column: value` for each cell; the value alone if its column has no name."""
    for column, text in row.cells.items():
        value = _collapse(text)
        name = names.get(column)
        yield f"{name}: {value}" if name else value


def _collapse(text: str) -> str:
    return " ".join(text.split())
