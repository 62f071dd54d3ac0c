"""Reads tables of HTML pages: spanned cells, heads of several rows, tables inside tables."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_SPAN = 1000  # HTML's own limit of a cell's columns
MAX_COLUMNS = 1000
MAX_CELLS = 200_000  # of a table with its spans filled; a page may claim 65,534 rows a cell
PARAGRAPHS = ["p", "ul", "ol", "dl", "div", "blockquote"]
BLOCKS = ["h1", "h2", "h3", "h4", "h5", "h6", "finished", "hr"]


@dataclass(frozen=True)
class Cell:
    """A cell at one row and column. `is_copy`: it spans here from the left."""

    element: Any
    is_copy: bool = False


@dataclass
class Table:
    """Rows of a table with every span filled."""

    head: list[list[Cell | None]] = field(default_factory=list)
    body: list[list[Cell | None]] = field(default_factory=list)
    captions: list[Any] = field(default_factory=list)
    is_layout: bool = False  # it arranges parts of a page, and has no data
    has_blocks: bool = False  # a cell has a listing or a table, which a line cannot hold


def read_table(element: Any) -> Table:
    """The rows of a table. The tables inside it must have been replaced already."""
    rows = element.find_all("tr")
    num_head_rows = _count_head_rows(rows)
    filled_rows = _fill_spans(rows)
    cells = element.find_all(["td", "th"])
    has_blocks = _has_blocks(element)
    has_head = any(cell.name == "th" for cell in cells)
    arranges = not has_head and (len(cells) == 1 or has_blocks or any(map(_has_paragraphs, cells)))
    role = str(element.get("role") or "")
    return Table(
        head=filled_rows[:num_head_rows],
        body=filled_rows[num_head_rows:],
        captions=element.find_all("caption"),
        is_layout=role in ("presentation", "none") or arranges,
        has_blocks=has_blocks,
    )


def _has_blocks(table: Any) -> bool:
    if table.find(BLOCKS) is not None:
        return True
    return any("\n" in listing.get_text().strip() for listing in table.find_all("pre"))


def _has_paragraphs(cell: Any) -> bool:
    return len(cell.find_all(PARAGRAPHS, limit=2)) > 1


def _count_head_rows(rows: list[Any]) -> int:
    """How many rows at the top name the columns: those of <thead>, else a first row of <th>."""
    in_head = [row for row in rows if row.find_parent(["thead", "table"]).name == "thead"]
    if in_head:
        return len(in_head) if rows[0] in in_head else 0
    first_cells = rows[0].find_all(["td", "th"]) if rows else []
    is_head = len(first_cells) > 0 and all(cell.name == "th" for cell in first_cells)
    return 1 if is_head and len(rows) > 1 else 0


def _fill_spans(rows: list[Any]) -> list[list[Cell | None]]:
    """The rows with a cell at each column that it spans; below it, it is repeated."""
    grid: list[dict[int, Cell]] = [{} for _ in rows]
    num_cells = 0
    for number, row in enumerate(rows):
        column = 0
        for element in row.find_all(["td", "th"]):
            while column in grid[number]:
                column += 1
            width = min(_span(element, "colspan"), max(1, MAX_COLUMNS - column))
            height = min(_span(element, "rowspan") or len(rows), len(rows) - number)
            if num_cells + width * height > MAX_CELLS:
                width = height = 1
            num_cells += width * height
            for below in range(height):
                for beside in range(width):
                    grid[number + below][column + beside] = Cell(element, beside > 0)
            column += width
    num_columns = max((max(row, default=-1) + 1 for row in grid), default=0)
    return [_row_cells(row, num_columns) for row in grid]


def _row_cells(row: dict[int, Cell], num_columns: int) -> list[Cell | None]:
    return [row.get(column) for column in range(num_columns)]


def _span(element: Any, name: str) -> int:
    """The number of columns or rows; 0 for a cell that reaches down to the end of the table."""
    value = str(element.get(name) or "1").strip()
    if not value.isdecimal():
        return 1
    number = min(MAX_SPAN, int(value))
    return number if name == "rowspan" else max(1, number)


def format_cells(table: Table, text_of: Callable[[Cell], str]) -> str:
    """The table in Markdown. Without a row of names its head is empty; "" if no cell has text.

    A head of several rows becomes one: each column is named by all that stand above it. In the
    body, a cell that spans columns stands in the first of them.
    """
    body = (_row_texts(row, text_of) for row in table.body)
    filled_rows = list(filter(any, body))
    head = _join_head(table.head, text_of)
    if not filled_rows and not any(head):
        return ""
    num_columns = max(map(len, [head, *filled_rows]))
    head = head or [""] * num_columns
    lines = [_line(head), "| " + " | ".join(["---"] * num_columns) + " |"]
    return "\n".join(lines + list(map(_line, filled_rows)))


def _body_text(cell: Cell | None, text_of: Callable[[Cell], str]) -> str:
    return "" if cell is None or cell.is_copy else text_of(cell)


def _row_texts(row: list[Cell | None], text_of: Callable[[Cell], str]) -> list[str]:
    return [_body_text(cell, text_of) for cell in row]


def _join_head(rows: list[list[Cell | None]], text_of: Callable[[Cell], str]) -> list[str]:
    if not rows:
        return []
    if len(rows) == 1:
        return [_body_text(cell, text_of) for cell in rows[0]]
    names = []
    for column in range(len(rows[0])):
        words: list[str] = []
        for row in rows:
            cell = row[column]
            text = text_of(cell) if cell else ""
            if text and text not in words:
                words.append(text)
        names.append(" ".join(words))
    return names


def _line(cells: list[str]) -> str:
    safe_cells = (cell.replace("\\|", "|").replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(safe_cells) + " |"


def unfold(table: Table, text_of: Callable[[Any], str]) -> Any:
    """The cells one after another as blocks, each after its column's name if there is a head."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup("", "lxml")
    division = soup.new_tag("div")
    division.extend(_as_divisions(table.captions))
    head = [] if table.is_layout else _join_head(table.head, lambda cell: text_of(cell.element))
    rows = table.head + table.body if table.is_layout else table.body
    written_cells: set[int] = set()
    for row in rows:
        for column, cell in enumerate(row):
            if cell is None or id(cell.element) in written_cells:
                continue
            written_cells.add(id(cell.element))
            name = head[column] if column < len(head) else ""
            has_text = cell.element.get_text(strip=True) or cell.element.find("finished")
            if name and has_text:
                paragraph = soup.new_tag("p")
                paragraph.string = f"{name}:"
                division.append(paragraph)
            division.extend(_as_divisions([cell.element]))
    return division


def _as_divisions(elements: list[Any]) -> Iterator[Any]:
    for element in elements:
        element.name = "div"
        yield element
