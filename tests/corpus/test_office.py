import datetime
import io
import zipfile

import pytest
from docx import Document
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches

from pipelines.corpus.detection import DOCX, PPTX, XLSX
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import Unreadable

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)


def test_a_docx_keeps_headings_lists_and_tables_in_their_order() -> None:
    made = Document()
    made.add_heading("Kitchen", 0)
    made.add_paragraph("Before the table.")
    table = made.add_table(rows=2, cols=2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), ("Pot", "Liters", "small", "2|3"), strict=True):
        cell.text = text
    made.add_heading("Steps", 2)
    made.add_paragraph("Boil", style="List Bullet")
    out = io.BytesIO()
    made.save(out)
    found = convert(out.getvalue(), DOCX, BOUNDS)
    assert found.text == "# Kitchen\n\nBefore the table.\n\n| Pot | Liters |\n| --- | --- |\n| small | 2\\|3 |\n\n## Steps\n\n- Boil\n"
    assert [(section["heading"], section["level"]) for section in found.sections] == [("Kitchen", 1), ("Steps", 2)]
    assert found.title == "Kitchen"
    assert found.pages == []


def test_a_pptx_has_a_page_a_slide_with_its_title_texts_tables_and_notes() -> None:
    made = Presentation()
    slide = made.slides.add_slide(made.slide_layouts[1])
    slide.shapes.title.text = "Soup"
    slide.placeholders[1].text = "Boil water\nAdd salt"
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    other = made.slides.add_slide(made.slide_layouts[5])
    other.shapes.title.text = "Bread"
    table = other.shapes.add_table(1, 2, Inches(1), Inches(3), Inches(4), Inches(1)).table
    table.cell(0, 0).text, table.cell(0, 1).text = "Flour", "500 g"
    out = io.BytesIO()
    made.save(out)
    found = convert(out.getvalue(), PPTX, BOUNDS)
    assert found.text == "# Soup\n\nBoil water\nAdd salt\n\nSay it slowly.\n\n# Bread\n\n| Flour | 500 g |\n| --- | --- |\n"
    assert found.pages == [0, found.text.index("# Bread")]


def test_an_xlsx_has_a_page_a_sheet_and_a_line_a_row_that_names_its_columns() -> None:
    made = Workbook()
    sheet = made.active
    assert sheet is not None
    sheet.title = "Stock"
    for row in (["Item", "Count", "Since"], ["Pots", 3, datetime.date(2026, 1, 5)], [None, None, None], ["Pans", 2.5, None]):
        sheet.append(row)
    made.create_sheet("Empty")
    made.create_sheet("Notes").append(["only a head"])
    out = io.BytesIO()
    made.save(out)
    found = convert(out.getvalue(), XLSX, BOUNDS)
    assert found.text == "# Stock\n\n- Item: Pots; Count: 3; Since: 2026-01-05 00:00:00\n- Item: Pans; Count: 2.5\n\n# Notes\n\n- only a head\n"
    assert found.pages == [0, found.text.index("# Notes")]


def test_an_archive_that_unpacks_to_more_than_allowed_is_refused_before_it_is_unpacked() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("word/document.xml", b"\0" * (BOUNDS.max_unpacked_bytes + 1))
    assert len(out.getvalue()) < 100_000
    with pytest.raises(Unreadable, match=r"unpacks to 16,777,217 bytes, more than ingest\.limits\.max_unpacked_mib allows"):
        convert(out.getvalue(), DOCX, BOUNDS)


@pytest.mark.parametrize("kind", [DOCX, PPTX, XLSX])
def test_a_truncated_office_file_is_a_rejection_with_its_reason(kind: str) -> None:
    made = Document()
    made.add_paragraph("text")
    out = io.BytesIO()
    made.save(out)
    with pytest.raises(Unreadable, match="a damaged file: BadZipFile"):
        convert(out.getvalue()[:-200], kind, BOUNDS) if kind == DOCX else convert(b"PK\x03\x04 nonsense", kind, BOUNDS)
