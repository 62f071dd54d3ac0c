"""Knows office files: docx, pptx and xlsx as text with headings, tables and, for slides and sheets, pages."""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from pipelines.corpus.parts import Converted, Part, Unreadable, assembled, records, table


def checked_archive(content: bytes, max_bytes: int) -> None:
    """Refuse a zip archive that unpacks to more than `max_bytes`, or has a password, before anything is unpacked."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        total = sum(entry.file_size for entry in archive.infolist())
        if total > max_bytes:
            raise Unreadable(f"unpacks to {total:,} bytes, more than ingest.limits.max_unpacked_mib allows ({max_bytes:,} bytes)")
        if any(entry.flag_bits & 1 for entry in archive.infolist()):
            raise Unreadable("is encrypted with a password: save it without one")


def docx(content: bytes) -> Converted:
    """Paragraphs, lists and tables in their order; Word's heading styles are the headings."""
    from docx import Document

    opened = Document(io.BytesIO(content))
    found = assembled(part for item in opened.iter_inner_content() for part in _word_parts(item))
    return found._replace(title=opened.core_properties.title or found.title)


def _word_parts(item: Any) -> Iterator[Part]:
    if hasattr(item, "rows"):
        yield Part("text", table([cell.text for cell in row.cells] for row in item.rows))
        return
    style = item.style.name if item.style is not None else ""
    level = re.match(r"Heading (\d)", style)
    if level or style == "Title":
        yield Part("heading", item.text, int(level[1]) if level else 1)
    else:
        yield Part("text", f"- {item.text}" if style.startswith("List") and item.text.strip() else item.text)


def pptx(content: bytes) -> Converted:
    """A page a slide: its title as heading, its shapes from top to bottom, its tables, its notes."""
    from pptx import Presentation

    opened = Presentation(io.BytesIO(content))
    found = assembled(part for slide in opened.slides for part in _slide_parts(slide))
    return found._replace(title=opened.core_properties.title or found.title)


def _slide_parts(slide: Any) -> Iterator[Part]:
    yield Part("page")
    title = slide.shapes.title
    if title is not None:
        yield Part("heading", title.text_frame.text, 1)
    for shape in sorted(_shapes(slide.shapes), key=lambda shape: (shape.top or 0, shape.left or 0)):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if shape.has_text_frame:
            yield Part("text", shape.text_frame.text.replace("\v", "\n"))
        elif getattr(shape, "has_table", False):
            yield Part("text", table([cell.text for cell in row.cells] for row in shape.table.rows))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        yield Part("text", slide.notes_slide.notes_text_frame.text)


def _shapes(shapes: Any) -> Iterator[Any]:
    """All shapes, those inside groups too."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def xlsx(content: bytes) -> Converted:
    """A page a sheet: its name as heading, each row as a line of `column: value` pairs. Formulas give their last value."""
    from openpyxl import load_workbook

    opened = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    try:
        return assembled((part for sheet in opened.worksheets for part in _sheet_parts(sheet)), opened.properties.title)
    finally:
        opened.close()


def _sheet_parts(sheet: Any) -> Iterator[Part]:
    rows = ([_cell(value) for value in row] for row in sheet.iter_rows(values_only=True))
    lines = list(records(rows))
    if lines:
        yield Part("page")
        yield Part("heading", sheet.title, 1)
        yield Part("text", "\n".join(line.text for line in lines))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
