"""Recognises tables that are drawn with lines on a PDF page, by pdfplumber's search for cells."""

import ctypes
import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipelines.corpus.parts import format_table
from pipelines.corpus.pdf_glyphs import Box, Glyph, enclose, turn
from pipelines.corpus.pdf_lines import join_glyphs

MIN_FILLED_SHARE = 0.5  # of the cells; a frame of lines with fewer is layout, not a table
TOLERANCE = 3.0  # points between lines that are the same one; pdfplumber's default
# The search for cells takes time with the square of these; a page beyond is a drawing, not a table.
MAX_LINES = 1500
MAX_CROSSINGS = 3000
MAX_DEPTH = 15  # of forms inside forms; pypdfium2's default

Matrix = tuple[float, float, float, float, float, float]
Point = tuple[float, float]
IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


class Table(NamedTuple):
    """A table as Markdown, and where it stands."""

    text: str
    box: Box


def take_tables(page: Any, glyphs: list[Glyph], angle: int) -> tuple[list[Table], list[Glyph]]:
    """The tables with lines around their cells, and the characters outside of all of them."""
    tables = []
    for grid in _grids(_lines(page, angle)):
        cells = list(filter(None, itertools.chain.from_iterable(grid)))
        frame = enclose(cells)
        inside = [glyph for glyph in glyphs if frame.contains(glyph.box.middle)]
        texts = _cell_texts(cells, inside)
        rows = _drop_empty_columns([_row_texts(row, texts) for row in grid])
        if _is_table(rows):
            tables.append(Table(format_table(rows), frame))
            ids = set(map(id, inside))
            glyphs = [glyph for glyph in glyphs if id(glyph) not in ids]
    return tables, glyphs


def _cell_texts(cells: list[Box], glyphs: list[Glyph]) -> dict[Box, str]:
    """The lines in each cell that has text."""
    glyphs_of: dict[Box, list[Glyph]] = defaultdict(list)
    cell = cells[0]
    for glyph in glyphs:
        middle = glyph.box.middle
        if not cell.contains(middle):  # most characters stand in the cell of the one before
            cell = next((cell for cell in cells if cell.contains(middle)), cell)
        glyphs_of[cell].append(glyph)
    texts = {}
    for cell, members in glyphs_of.items():
        texts[cell] = "\n".join(segment.text for segment in join_glyphs(members))
    return texts


def _row_texts(row: list[Box | None], texts: dict[Box, str]) -> list[str]:
    return [texts.get(cell, "") if cell else "" for cell in row]


def _is_table(rows: list[list[str]]) -> bool:
    if len(rows) < 2 or max(map(len, rows)) < 2:
        return False
    cells = [cell for row in rows for cell in row]
    return len(list(filter(None, cells))) >= MIN_FILLED_SHARE * len(cells)


def _drop_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    columns = zip(*rows, strict=True)
    filled_columns = filter(any, columns)
    return [list(row) for row in zip(*filled_columns, strict=True)]


def _grids(lines: list[Box]) -> Iterator[list[list[Box | None]]]:
    """The rows of cells of each table; None stands for a part of a merged cell."""
    from pdfplumber import table

    if len(lines) < 4:
        return
    edges = table.merge_edges(list(map(_edge, lines)), *[TOLERANCE] * 4)
    if len(edges) > MAX_LINES:
        return
    crossings = table.edges_to_intersections(edges, TOLERANCE, TOLERANCE)
    if len(crossings) > MAX_CROSSINGS:
        return
    cells = table.intersections_to_cells(crossings)
    for group in table.cells_to_tables(cells):
        rows = table.Table(None, group).rows
        yield [list(map(_box, row.cells)) for row in rows]


def _box(cell: tuple[float, float, float, float] | None) -> Box | None:
    return Box(*cell) if cell else None


def _edge(line: Box) -> dict[str, Any]:
    """A line as pdfplumber describes it."""
    return {
        "x0": line.x0,
        "x1": line.x1,
        "top": line.top,
        "bottom": line.bottom,
        "width": line.width,
        "height": line.height,
        "orientation": "h" if line.width > line.height else "v",
    }


def _lines(page: Any, angle: int) -> list[Box]:
    """Every horizontal and vertical line of the page, as someone sees them who reads at `angle`."""
    lines = set()
    for start, end in _strokes(page, page, IDENTITY, depth=0):
        (x0, x1) = sorted((start[0], end[0]))
        (y0, y1) = sorted((start[1], end[1]))
        if min(x1 - x0, y1 - y0) < 1 <= max(x1 - x0, y1 - y0):
            x1, y1 = (x1, y0) if x1 - x0 > y1 - y0 else (x0, y1)
            lines.add(turn((x0, y0, x1, y1), angle))
        if len(lines) > 10 * MAX_LINES:
            return []
    return sorted(lines)


def _strokes(page: Any, parent: Any, matrix: Matrix, depth: int) -> Iterator[tuple[Point, Point]]:
    """The straight strokes of all paths, those inside of forms included, in the page's points."""
    from pypdfium2 import raw

    count, get = raw.FPDFPage_CountObjects, raw.FPDFPage_GetObject
    if depth:
        count, get = raw.FPDFFormObj_CountObjects, raw.FPDFFormObj_GetObject
    for number in range(count(parent)):
        item = get(parent, number)
        kind = raw.FPDFPageObj_GetType(item)
        if kind == raw.FPDF_PAGEOBJ_PATH:
            yield from _path_strokes(item, _product(_matrix(item), matrix))
        elif kind == raw.FPDF_PAGEOBJ_FORM and depth < MAX_DEPTH:
            yield from _strokes(page, item, _product(_matrix(item), matrix), depth + 1)


def _path_strokes(path: Any, matrix: Matrix) -> Iterator[tuple[Point, Point]]:
    from pypdfium2 import raw

    x = ctypes.c_float()
    y = ctypes.c_float()
    first = last = (0.0, 0.0)
    for number in range(raw.FPDFPath_CountSegments(path)):
        segment = raw.FPDFPath_GetPathSegment(path, number)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = _apply(matrix, x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            first = point
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield last, point
        if raw.FPDFPathSegment_GetClose(segment):
            yield point, first
        last = point


def _matrix(item: Any) -> Matrix:
    from pypdfium2 import raw

    matrix = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(item, matrix)
    return (matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f)


def _product(inner: Matrix, outer: Matrix) -> Matrix:
    """The matrix that first does `inner`, then `outer`."""
    a, b, c, d, e, f = inner
    x_axis = _apply(outer, a, b, is_vector=True)
    y_axis = _apply(outer, c, d, is_vector=True)
    origin = _apply(outer, e, f)
    return (*x_axis, *y_axis, *origin)


def _apply(matrix: Matrix, x: float, y: float, is_vector: bool = False) -> Point:
    a, b, c, d, e, f = matrix
    if is_vector:
        return a * x + c * y, b * x + d * y
    return a * x + c * y + e, b * x + d * y + f
