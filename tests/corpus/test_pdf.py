import io
from pathlib import Path

import pytest
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from pipelines.corpus.parts import Unreadable
from pipelines.corpus.pdf import convert_pdf

PDFS = Path(__file__).parents[2].parent / "shared/data/pdfs"
STYLES = getSampleStyleSheet()
GRID = [("GRID", (0, 0), (-1, -1), 1, colors.black)]


def paragraph(text: str, style: str = "BodyText") -> Paragraph:
    return Paragraph(text, STYLES[style])


def write_pdf(story: list[object], num_columns: int = 1) -> bytes:
    """A PDF of this story in so many columns, written by reportlab."""
    content = io.BytesIO()
    width = (A4[0] - 80) / num_columns
    frames = [
        Frame(40 + number * width, 60, width, A4[1] - 120, id=str(number))
        for number in range(num_columns)
    ]
    template = BaseDocTemplate(content, pagesize=A4, title="Kitchen manual")
    template.addPageTemplates([PageTemplate(id="all", frames=frames)])
    template.build(story)
    return content.getvalue()


def test_headings_pages_and_tables_of_a_pdf_are_recognized() -> None:
    cells = [["Vegetable", "Minutes"], ["Potato", "20"], ["Carrot", "12"]]
    story = [
        paragraph("Cooking times", "Title"),
        paragraph("Boil the water before anything else goes into the pot. " * 6),
        PageBreak(),
        paragraph("Vegetables", "Heading1"),
        paragraph("The table tells how long each of them takes until it is soft. " * 6),
        Spacer(1, 12),
        Table(cells, style=GRID),
    ]
    document = convert_pdf(write_pdf(story), max_pages=5)
    assert document.title == "Cooking times"
    assert len(document.pages) == 2
    second_start = document.pages[1]
    first_page = document.text[:second_start]
    second_page = document.text[second_start:]
    assert first_page.startswith("# Cooking times\n\nBoil the water before")
    assert second_page.lstrip("#").startswith(" Vegetables\n\nThe table tells")
    table = "| Vegetable | Minutes |\n| --- | --- |\n| Potato | 20 |\n| Carrot | 12 |"
    assert table in second_page
    headings = [section["heading"] for section in document.sections]
    assert headings == ["Cooking times", "Vegetables"]
    second_section = document.text[document.sections[1]["start"] :]
    assert second_section.lstrip("# ").startswith("Vegetables")


def test_two_columns_are_read_one_after_the_other() -> None:
    left_column = "The left column tells about soup and nothing else at all. " * 40
    right_column = "The right column tells about bread and nothing else at all. " * 20
    content = write_pdf([paragraph(left_column), paragraph(right_column)], num_columns=2)
    words = " ".join(convert_pdf(content, max_pages=5).text.split())
    assert left_column.strip() in words
    assert right_column.strip() in words
    assert words.index("soup") < words.index("bread")


def test_more_pages_than_allowed_are_a_rejection() -> None:
    story = [paragraph("text"), PageBreak()] * 4
    with pytest.raises(Unreadable, match=r"has 4 pages, more than ingest\.limits\.max_pages \(3\)"):
        convert_pdf(write_pdf(story), max_pages=3)


def test_pages_without_text_are_a_rejection_that_names_text_recognition() -> None:
    content = io.BytesIO()
    canvas = Canvas(content)
    canvas.rect(10, 10, 100, 100, fill=1)
    canvas.save()
    problem = "its 1 pages hold no text: scanned pictures need text recognition first"
    with pytest.raises(Unreadable, match=problem):
        convert_pdf(content.getvalue(), max_pages=3)


def test_a_pdf_with_a_password_and_a_truncated_one_are_rejections() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, encrypt=StandardEncryption("secret", strength=128))
    canvas.drawString(100, 700, "hidden")
    canvas.save()
    with pytest.raises(Unreadable, match="is encrypted with a password"):
        convert_pdf(content.getvalue(), max_pages=3)
    truncated_pdf = write_pdf([paragraph("text " * 500)])[:400]
    with pytest.raises(Unreadable):
        convert_pdf(truncated_pdf, max_pages=3)


@pytest.mark.skipif(not PDFS.is_dir(), reason="the real PDFs are not beside this checkout")
def test_a_real_form_and_real_slides_keep_title_pages_and_words() -> None:
    form_path = PDFS / "tts_EFT_Enrollment_Form.pdf"
    form = convert_pdf(form_path.read_bytes(), max_pages=99)
    assert form.title == "ELECTRONIC FUNDS TRANSFER (EFT) ENROLLMENT FORM"
    assert len(form.pages) == 1
    assert "Fax to: 816-823-5415" in form.text
    slides_path = PDFS / "fedramp_slides_Developer_Data_Bites_Presentation_2.08.2024.pdf"
    slides = convert_pdf(slides_path.read_bytes(), max_pages=99)
    assert len(slides.pages) == 20
    assert "HTML versions of the OSCAL guides" in " ".join(slides.text.split())
    third_slide = slides.text[slides.pages[2] :]
    assert third_slide.lstrip("# ").startswith("Data Bites Guiding Principles")
