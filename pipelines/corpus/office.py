"""Converts docx, pptx, xlsx and CSV files: headings, tables and, for slides and sheets, pages."""

import csv
import io
import itertools
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from pipelines.corpus.detection import decode
from pipelines.corpus.parts import (
    ConvertedDocument,
    Part,
    Unreadable,
    assemble,
    format_records,
    format_table,
)

SAMPLE_CHARACTERS = 8192  # of a CSV text, from which its delimiter is told


def check_archive(content: bytes, max_bytes: int) -> None:
    """Raise Unreadable if a zip archive has a password or would unpack to more than `max_bytes`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    num_bytes = sum(entry.file_size for entry in entries)
    if num_bytes > max_bytes:
        raise Unreadable(
            f"unpacks to {num_bytes:,} bytes, more than ingest.limits.max_unpacked_mib allows "
            f"({max_bytes:,} bytes)"
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise Unreadable("is encrypted with a password: save it without one")


def convert_docx(content: bytes) -> ConvertedDocument:
    """Paragraphs, lists and tables in their order; Word's heading styles make the headings."""
    from docx import Document

    file = Document(io.BytesIO(content))
    document = assemble(map(_word_part, file.iter_inner_content()))
    return document._replace(title=file.core_properties.title or document.title)


def _word_part(item: Any) -> Part:
    """A paragraph or a table."""
    if hasattr(item, "rows"):
        return Part("text", _format_rows(item.rows))
    style = item.style.name if item.style is not None else ""
    heading_style = re.match(r"Heading (\d)", style)
    if heading_style:
        return Part("heading", item.text, int(heading_style[1]))
    if style == "Title":
        return Part("heading", item.text, 1)
    if style.startswith("List") and item.text.strip():
        return Part("text", f"- {item.text}")
    return Part("text", item.text)


def _format_rows(rows: Any) -> str:
    return format_table(map(_cell_texts, rows))


def _cell_texts(row: Any) -> list[str]:
    return [cell.text for cell in row.cells]


def convert_pptx(content: bytes) -> ConvertedDocument:
    """One page per slide: its title, its shapes from top to bottom, its tables, its notes."""
    from pptx import Presentation

    file = Presentation(io.BytesIO(content))
    document = assemble(itertools.chain.from_iterable(map(_slide_parts, file.slides)))
    return document._replace(title=file.core_properties.title or document.title)


def _slide_parts(slide: Any) -> Iterator[Part]:
    yield Part("page")
    title = slide.shapes.title
    if title is not None:
        yield Part("heading", title.text_frame.text, 1)
    for shape in sorted(_shapes(slide.shapes), key=_position):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if shape.has_text_frame:
            yield Part("text", shape.text_frame.text.replace("\v", "\n"))
        elif getattr(shape, "has_table", False):
            yield Part("text", _format_rows(shape.table.rows))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        yield Part("text", slide.notes_slide.notes_text_frame.text)


def _shapes(shapes: Any) -> Iterator[Any]:
    """All shapes, including those inside groups."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _position(shape: Any) -> tuple[int, int]:
    return shape.top or 0, shape.left or 0


def convert_xlsx(content: bytes) -> ConvertedDocument:
    """One page per sheet: its name as heading, then a line of `column: value` pairs per row.

    A formula is represented by the value that was last computed.
    """
    from openpyxl import load_workbook

    file = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    try:
        parts = itertools.chain.from_iterable(map(_sheet_parts, file.worksheets))
        return assemble(parts, file.properties.title)
    finally:
        file.close()


def _sheet_parts(sheet: Any) -> Iterator[Part]:
    rows = (list(map(_format_value, row)) for row in sheet.iter_rows(values_only=True))
    lines = list(format_records(rows))
    if lines:
        yield Part("page")
        yield Part("heading", sheet.title, 1)
        yield Part("text", "\n".join(lines))


def _format_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def convert_csv(content: bytes) -> ConvertedDocument:
    """Each row of a CSV file as a line of `column: value` pairs."""
    lines = format_records(read_csv(decode(content)))
    return assemble([Part("text", "\n".join(lines))])


def read_csv(text: str) -> list[list[str]]:
    """The rows of a CSV text that are not empty; its first characters tell the delimiter."""
    try:
        dialect: Any = csv.Sniffer().sniff(text[:SAMPLE_CHARACTERS], delimiters=",;\t|")
        delimiter = dialect.delimiter
    except csv.Error:
        delimiter = ","  # one column, or too few rows to tell
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return list(filter(None, reader))
    except csv.Error as error:
        raise Unreadable(f"not CSV: {error}") from error
