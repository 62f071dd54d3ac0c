import datetime
import io
import zipfile

import pytest
from docx import Document
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches

from pipelines.corpus.detection import CSV, DOCX, PPTX, XLSX
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import Unreadable

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)


def test_a_docx_keeps_headings_lists_and_tables_in_their_order() -> None:
    file = Document()
    file.add_heading("Kitchen", 0)
    file.add_paragraph("Before the table.")
    table = file.add_table(rows=2, cols=2)
    table.cell(0, 0).text = "Pot"
    table.cell(0, 1).text = "Liters"
    table.cell(1, 0).text = "small"
    table.cell(1, 1).text = "2|3"
    file.add_heading("Steps", 2)
    file.add_paragraph("Boil", style="List Bullet")
    content = io.BytesIO()
    file.save(content)
    document = convert(content.getvalue(), DOCX, BOUNDS)
    assert document.text == (
        "# Kitchen\n\nBefore the table.\n\n"
        "| Pot | Liters |\n| --- | --- |\n| small | 2\\|3 |\n\n"
        "## Steps\n\n- Boil\n"
    )
    sections = [(section["heading"], section["level"]) for section in document.sections]
    assert sections == [("Kitchen", 1), ("Steps", 2)]
    assert document.title == "Kitchen"
    assert document.pages == []


def test_a_pptx_has_a_page_per_slide_with_its_title_texts_tables_and_notes() -> None:
    file = Presentation()
    soup = file.slides.add_slide(file.slide_layouts[1])
    soup.shapes.title.text = "Soup"
    soup.placeholders[1].text = "Boil water\nAdd salt"
    soup.notes_slide.notes_text_frame.text = "Say it slowly."
    bread = file.slides.add_slide(file.slide_layouts[5])
    bread.shapes.title.text = "Bread"
    table = bread.shapes.add_table(1, 2, Inches(1), Inches(3), Inches(4), Inches(1)).table
    table.cell(0, 0).text = "Flour"
    table.cell(0, 1).text = "500 g"
    content = io.BytesIO()
    file.save(content)
    document = convert(content.getvalue(), PPTX, BOUNDS)
    assert document.text == (
        "# Soup\n\nBoil water\nAdd salt\n\nSay it slowly.\n\n"
        "# Bread\n\n| Flour | 500 g |\n| --- | --- |\n"
    )
    assert document.pages == [0, document.text.index("# Bread")]


def test_an_xlsx_has_a_page_per_sheet_and_a_line_per_row_that_names_its_columns() -> None:
    file = Workbook()
    stock = file.active
    assert stock is not None
    stock.title = "Stock"
    stock.append(["Item", "Count", "Since"])
    stock.append(["Pots", 3, datetime.date(2026, 1, 5)])
    stock.append([None, None, None])
    stock.append(["Pans", 2.5, None])
    file.create_sheet("Empty")
    file.create_sheet("Notes").append(["only a head"])
    content = io.BytesIO()
    file.save(content)
    document = convert(content.getvalue(), XLSX, BOUNDS)
    assert document.text == (
        "# Stock\n\n"
        "- Item: Pots; Count: 3; Since: 2026-01-05 00:00:00\n- Item: Pans; Count: 2.5\n\n"
        "# Notes\n\n- only a head\n"
    )
    assert document.pages == [0, document.text.index("# Notes")]


def test_an_archive_that_unpacks_to_more_than_allowed_is_refused_before_it_is_unpacked() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("word/document.xml", b"\0" * (BOUNDS.max_unpacked_bytes + 1))
    assert len(content.getvalue()) < 100_000
    problem = r"unpacks to 16,777,217 bytes, more than ingest\.limits\.max_unpacked_mib allows"
    with pytest.raises(Unreadable, match=problem):
        convert(content.getvalue(), DOCX, BOUNDS)


def test_a_truncated_docx_is_a_rejection_with_its_reason() -> None:
    file = Document()
    file.add_paragraph("text")
    content = io.BytesIO()
    file.save(content)
    with pytest.raises(Unreadable, match="a damaged file: BadZipFile"):
        convert(content.getvalue()[:-200], DOCX, BOUNDS)


@pytest.mark.parametrize("media_type", [PPTX, XLSX])
def test_a_damaged_archive_is_a_rejection_with_its_reason(media_type: str) -> None:
    with pytest.raises(Unreadable, match="a damaged file: BadZipFile"):
        convert(b"PK\x03\x04 nonsense", media_type, BOUNDS)


def test_csv_rows_name_their_columns_whatever_the_delimiter() -> None:
    semicolons = "Name;Größe\nTopf;2\n\nPfanne;3\n".encode("utf-8-sig")
    document = convert(semicolons, CSV, BOUNDS)
    assert document.text == "- Name: Topf; Größe: 2\n- Name: Pfanne; Größe: 3\n"
    commas = b'a,b\n"x, y",2,3\n'
    assert convert(commas, CSV, BOUNDS).text == "- a: x, y; b: 2; 3\n"
