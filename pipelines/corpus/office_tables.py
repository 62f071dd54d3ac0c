"""Tables of Word and PowerPoint in Markdown: merged cells, heads of several rows."""

from typing import Any, NamedTuple

from pipelines.corpus.parts import format_table


class Cell(NamedTuple):
    """A cell with the blocks in it, which have a `text`."""

    blocks: list[Any]
    num_columns: int = 1
    continues_above: bool = False  # it is merged with the cell above it

    def text(self) -> str:
        return " ".join(block.text.strip() for block in self.blocks)


class Slot(NamedTuple):
    """What a column of a row shows. `is_copy`: a cell spans here from the left."""

    text: str
    is_copy: bool = False
    is_continued: bool = False


def format_cells(rows: list[list[Cell]], num_heads: int) -> str:
    """A table whose first row is the head.

    A cell that spans columns stands in the first of them, one that spans rows in each of them. A
    head of several rows becomes one: each column is named by all that stands above it.
    """
    grid = _fill_spans(rows)
    if not grid:
        return ""
    num_heads = min(max(num_heads, _height_of_head(grid)), len(grid))
    head = list(map(_visible, grid[0]))
    if num_heads > 1:
        head = _join_head(grid[:num_heads])
    body = [list(map(_visible, row)) for row in grid[num_heads:]]
    return format_table([head, *body])


def _visible(slot: Slot) -> str:
    return "" if slot.is_copy else slot.text


def _fill_spans(rows: list[list[Cell]]) -> list[list[Slot]]:
    grid: list[list[Slot]] = []
    for row in rows:
        slots: list[Slot] = []
        for cell in row:
            text = cell.text()
            if cell.continues_above and not text and grid and len(slots) < len(grid[-1]):
                text = grid[-1][len(slots)].text
            for number in range(cell.num_columns):
                slots.append(Slot(text, number > 0, cell.continues_above))
        grid.append(slots)
    return grid


def _height_of_head(grid: list[list[Slot]]) -> int:
    """2 if the first row groups columns that the second one names, else 1."""
    if len(grid) < 3 or len(grid[0]) != len(grid[1]):
        return 1
    groups_columns = any(slot.is_copy for slot in grid[0])
    is_whole_row = all(slot.is_copy for slot in grid[0][1:])
    names_continue = any(slot.is_continued for slot in grid[1])
    return 2 if groups_columns and names_continue and not is_whole_row else 1


def _join_head(rows: list[list[Slot]]) -> list[str]:
    names = []
    for column in range(max(map(len, rows))):
        words: list[str] = []
        for row in rows:
            text = row[column].text if column < len(row) else ""
            if text and text not in words:
                words.append(text)
        names.append(" ".join(words))
    return names
