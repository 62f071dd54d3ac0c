"""Converts xlsx files: one page per sheet, its rows as lines that name their columns.

Cells are read from the sheet's XML as they come: other exporters misstate the sheet's dimension,
and one stray cell far away would make a grid of millions. openpyxl's tables tell dates and number
formats.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipelines.corpus.html_links import format_links, is_listed
from pipelines.corpus.number_formats import format_date, format_number, plain_number
from pipelines.corpus.ooxml import (
    Package,
    attribute,
    child,
    descendants,
    name_of,
    read_chart_titles,
)
from pipelines.corpus.parts import ConvertedDocument, Part, Unreadable, assemble
from pipelines.corpus.records import SheetRow, format_rows

REFERENCE = re.compile(r"\$?([A-Z]{1,3})\$?(\d+)")
MAX_MERGED_CELLS = 100_000  # of a sheet that are filled with the value of their range
GENERAL = "General"
THREAD = "[Threaded comment]"  # starts the copy of a thread that older versions of Excel show
CHARTS = "charts"


class Workbook(NamedTuple):
    """What the cells of a workbook refer to."""

    package: Package
    path: str
    strings: list[str]
    formats: list[str]  # number format of each cell style
    starts_in_1904: bool


@dataclass
class Sheet:
    """A sheet while it is read. Rows and columns count from 1."""

    rows: list[SheetRow] = field(default_factory=list)
    merged_ranges: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)  # (cells, relation's id)
    # shared formulas by their index: the cell where each stands, and its text
    formulas: dict[str, tuple[str, str]] = field(default_factory=dict)


def convert_xlsx(content: bytes) -> ConvertedDocument:
    """One page per sheet: its name as heading, a line per row, then its notes and text boxes.

    A formula is represented by the value that was last computed; if there is none, by itself.
    """
    package = Package(content)
    path = package.main_path()
    if path.endswith(".bin"):
        raise Unreadable("a binary workbook (xlsb): save it as xlsx")
    root = package.parse(path)
    starts_in_1904 = attribute(child(root, "workbookPr"), "date1904") in ("1", "true")
    strings = _read_strings(package, path)
    workbook = Workbook(package, path, strings, _read_formats(package, path), starts_in_1904)
    return assemble(_sheet_parts(root, workbook), package.title())


def _sheet_parts(root: Any, workbook: Workbook) -> Iterator[Part]:
    relations = workbook.package.relations(workbook.path)
    for element in descendants(root, "sheet"):
        relation = relations.get(attribute(element, "id") or "")
        if relation is None or relation.kind != "worksheet":
            continue  # a chart's sheet, which shows cells of the others
        if not workbook.package.has(relation.target):
            raise Unreadable(f"a damaged file: its part {relation.target} is missing")
        sheet = _read_sheet(workbook, relation.target)
        parts = list(format_rows(sheet.rows))
        parts.append(Part("text", _list_links(sheet, workbook.package, relation.target)))
        parts += _surrounding_parts(workbook.package, relation.target)
        if any(part.text for part in parts):
            yield Part("page")
            yield Part("heading", element.get("name") or "", 1)
            yield from parts


def _read_strings(package: Package, path: str) -> list[str]:
    """The strings that cells refer to by number."""
    strings = []
    for strings_path in package.parts_of_kind(path, "sharedStrings"):
        for element in package.parse(strings_path):
            strings.append(_read_string(element))
    return strings


def _read_string(element: Any) -> str:
    """A string of one or several runs, without the readings of Japanese words."""
    text = ""
    for part in element:
        if name_of(part) == "t":
            text += part.text or ""
        elif name_of(part) == "r":
            text += _read_string(part)
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda match: chr(int(match[1], 16)), text)


def _read_formats(package: Package, path: str) -> list[str]:
    """The number format of each cell style."""
    from openpyxl.styles.numbers import BUILTIN_FORMATS

    formats: list[str] = []
    for styles_path in package.parts_of_kind(path, "styles"):
        root = package.parse(styles_path)
        own_formats = {}
        for element in descendants(root, "numFmt"):
            own_formats[element.get("numFmtId")] = element.get("formatCode") or GENERAL
        styles = child(root, "cellXfs")
        for style in styles if styles is not None else ():
            key = style.get("numFmtId") or "0"
            builtin_format = BUILTIN_FORMATS.get(int(key), GENERAL)
            formats.append(own_formats.get(key, builtin_format))
    return formats


def _read_sheet(workbook: Workbook, path: str) -> Sheet:
    from lxml import etree

    sheet = Sheet()
    with workbook.package.open(path) as stream:
        tags = ("{*}row", "{*}mergeCell", "{*}hyperlink")
        options = {"resolve_entities": False, "no_network": True, "remove_comments": True}
        for _, element in etree.iterparse(stream, tag=tags, **options):
            if name_of(element) == "mergeCell":
                sheet.merged_ranges.append(element.get("ref") or "")
            elif name_of(element) == "hyperlink":
                sheet.links.append((element.get("ref") or "", attribute(element, "id") or ""))
            else:
                _add_row(element, sheet, workbook)
            element.clear()
            while element.getprevious() is not None:  # else memory grows with the sheet
                del element.getparent()[0]
    _fill_merged(sheet)
    return sheet


def _add_row(element: Any, sheet: Sheet, workbook: Workbook) -> None:
    previous_number = sheet.rows[-1].number if sheet.rows else 0
    number = int(element.get("r") or previous_number + 1)
    cells: dict[int, str] = {}
    column = 0
    for cell in element:
        reference = REFERENCE.fullmatch(cell.get("r") or "")
        column = column_number(reference[1]) if reference else column + 1
        text = _read_cell(cell, sheet, workbook)
        if text.strip():
            cells[column] = text
    if cells:
        sheet.rows.append(SheetRow(number, cells, {}))


def _list_links(sheet: Sheet, package: Package, path: str) -> str:
    """The links of cells that lead out of the workbook."""
    rows = {row.number: row for row in sheet.rows}
    relations = package.relations(path) if sheet.links else {}
    targets: dict[str, str] = {}
    for cells, key in sheet.links:
        reference = REFERENCE.match(cells)
        relation = relations.get(key)
        if reference is None or relation is None or int(reference[2]) not in rows:
            continue
        label = rows[int(reference[2])].cells.get(column_number(reference[1]), "")
        if is_listed(label, relation.target):
            targets.setdefault(relation.target, " ".join(label.split()))
    return format_links(targets)


def column_number(letters: str) -> int:
    """1 for A, 27 for AA."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _read_cell(cell: Any, sheet: Sheet, workbook: Workbook) -> str:
    kind = cell.get("t") or "n"
    formula = child(cell, "f")
    if kind == "inlineStr":
        inline = child(cell, "is")
        return _read_string(inline) if inline is not None else ""
    value_element = child(cell, "v")
    value = (value_element.text or "") if value_element is not None else ""
    if formula is not None:
        text = _read_formula(cell, formula, sheet)
        if not value and (kind != "str" or value_element is None):
            return text
    if not value:
        return ""
    return _format_value(value, kind, cell.get("s"), workbook)


def _read_formula(cell: Any, formula: Any, sheet: Sheet) -> str:
    """A formula; one that is shared with other cells is moved to this one."""
    text = f"={formula.text}" if formula.text else ""
    key = formula.get("si")
    position = cell.get("r") or ""
    if key is None:
        return text
    if text:
        sheet.formulas[key] = (position, text)
        return text
    origin, shared_text = sheet.formulas.get(key, (position, ""))
    if not shared_text:
        return ""
    from openpyxl.formula.translate import Translator

    moved_text: str = Translator(shared_text, origin=origin).translate_formula(position)
    return moved_text


def _format_value(value: str, kind: str, style: str | None, workbook: Workbook) -> str:
    if kind == "s":
        return workbook.strings[int(value)]
    if kind == "b":
        return "TRUE" if value.strip() == "1" else "FALSE"
    if kind == "d":
        return value.removesuffix("T00:00:00").replace("T", " ")
    if kind != "n":
        return value
    index = int(style or 0)
    number_format = workbook.formats[index] if index < len(workbook.formats) else GENERAL
    return format_cell_number(float(value), number_format, workbook.starts_in_1904)


def format_cell_number(value: float, number_format: str, starts_in_1904: bool = False) -> str:
    """A number as its format shows it: a date, a share, an amount with its unit."""
    if number_format in (GENERAL, "@"):
        return plain_number(value)
    from openpyxl.styles.numbers import is_date_format, is_timedelta_format
    from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, from_excel

    if not is_date_format(number_format):
        return format_number(value, number_format)
    epoch = CALENDAR_MAC_1904 if starts_in_1904 else CALENDAR_WINDOWS_1900
    try:
        moment = from_excel(value, epoch, timedelta=is_timedelta_format(number_format))
    except (OverflowError, ValueError):  # no date: before 1900 or after 9999
        return plain_number(value)
    return format_date(moment, number_format)


def _fill_merged(sheet: Sheet) -> None:
    """Repeat the value of a merged range in each of its rows, and note what it spans."""
    rows = {row.number: row for row in sheet.rows}
    num_cells = 0
    for merged_range in sheet.merged_ranges:
        corners = REFERENCE.findall(merged_range)
        if len(corners) != 2:
            continue
        (first_letters, first_row), (last_letters, last_row) = corners
        column = column_number(first_letters)
        top = rows.get(int(first_row))
        if top is None or column not in top.cells:
            continue
        last_column = column_number(last_letters)
        for number in range(int(first_row), int(last_row) + 1):
            num_cells += 1
            if num_cells > MAX_MERGED_CELLS:
                return
            if number in rows:
                rows[number].cells.setdefault(column, top.cells[column])
                if last_column > column:
                    rows[number].wide_columns[column] = last_column
    for number, row in enumerate(sheet.rows):
        sheet.rows[number] = row._replace(cells=dict(sorted(row.cells.items())))


def _surrounding_parts(package: Package, path: str) -> Iterator[Part]:
    """The notes at cells, the text boxes and the titles of the charts of a sheet."""
    notes = list(_read_notes(package, path))
    if notes:
        yield Part("text", "\n".join(["Notes:", "", *notes]))
    for drawing_path in package.parts_of_kind(path, "drawing"):
        for paragraph in descendants(package.parse(drawing_path), "p"):
            text = "".join(run.text or "" for run in descendants(paragraph, "t"))
            yield Part("text", text)
        for chart_path in package.parts_of_kind(drawing_path, "chart"):
            for title in read_chart_titles(package.parse(chart_path)):
                yield Part("text", title)


def _read_notes(package: Package, path: str) -> Iterator[str]:
    for kind, name in (("threadedComment", "text"), ("comments", "t")):
        for notes_path in package.parts_of_kind(path, kind):
            for element in descendants(package.parse(notes_path), "threadedComment", "comment"):
                text = "".join(part.text or "" for part in descendants(element, name))
                if text.strip() and not text.startswith(THREAD):
                    yield f"- {element.get('ref')}: {' '.join(text.split())}"
