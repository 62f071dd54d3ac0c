import io
from pathlib import Path

import pytest
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, PageBreak, PageTemplate, Paragraph, Spacer, Table

from pipelines.corpus.parts import Unreadable
from pipelines.corpus.pdf import pdf

PDFS = Path(__file__).parents[2].parent / "shared/data/pdfs"
STYLES = getSampleStyleSheet()


def made(story: list[object], columns: int = 1) -> bytes:
    """A PDF of this story in so many columns, written by reportlab."""
    out = io.BytesIO()
    width = (A4[0] - 80) / columns
    frames = [Frame(40 + number * width, 60, width, A4[1] - 120, id=str(number)) for number in range(columns)]
    template = BaseDocTemplate(out, pagesize=A4, title="Kitchen manual")
    template.addPageTemplates([PageTemplate(id="all", frames=frames)])
    template.build(story)
    return out.getvalue()


def test_headings_pages_and_tables_of_a_pdf_are_found() -> None:
    cells = [["Vegetable", "Minutes"], ["Potato", "20"], ["Carrot", "12"]]
    story = [
        Paragraph("Cooking times", STYLES["Title"]), Paragraph("Boil the water before anything else goes into the pot. " * 6, STYLES["BodyText"]), PageBreak(),
        Paragraph("Vegetables", STYLES["Heading1"]), Paragraph("The table tells how long each of them takes until it is soft. " * 6, STYLES["BodyText"]), Spacer(1, 12),
        Table(cells, style=[("GRID", (0, 0), (-1, -1), 1, colors.black)]),
    ]  # fmt: skip
    found = pdf(made(story), max_pages=5)
    assert found.title == "Cooking times"
    assert len(found.pages) == 2
    first, second = found.text[: found.pages[1]], found.text[found.pages[1] :]
    assert first.startswith("# Cooking times\n\nBoil the water before")
    assert second.lstrip("#").startswith(" Vegetables\n\nThe table tells")
    assert "| Vegetable | Minutes |\n| --- | --- |\n| Potato | 20 |\n| Carrot | 12 |" in second
    assert [section["heading"] for section in found.sections] == ["Cooking times", "Vegetables"]
    assert found.text[found.sections[1]["start"] :].lstrip("# ").startswith("Vegetables")


def test_two_columns_are_read_one_after_the_other() -> None:
    left, right = "The left column tells about soup and nothing else at all. " * 40, "The right column tells about bread and nothing else at all. " * 20
    found = pdf(made([Paragraph(left, STYLES["BodyText"]), Paragraph(right, STYLES["BodyText"])], columns=2), max_pages=5)
    words = " ".join(found.text.split())
    assert left.strip() in words
    assert right.strip() in words
    assert words.index("soup") < words.index("bread")


def test_more_pages_than_allowed_are_a_rejection() -> None:
    story = [part for _ in range(4) for part in (Paragraph("text", STYLES["BodyText"]), PageBreak())]
    with pytest.raises(Unreadable, match=r"has 4 pages, more than ingest\.limits\.max_pages \(3\)"):
        pdf(made(story), max_pages=3)


def test_pages_without_text_are_a_rejection_that_names_text_recognition() -> None:
    out = io.BytesIO()
    canvas = Canvas(out)
    canvas.rect(10, 10, 100, 100, fill=1)
    canvas.save()
    with pytest.raises(Unreadable, match="its 1 pages hold no text: scanned pictures need text recognition first"):
        pdf(out.getvalue(), max_pages=3)


def test_a_pdf_with_a_password_and_a_truncated_one_are_rejections() -> None:
    out = io.BytesIO()
    canvas = Canvas(out, encrypt=StandardEncryption("secret", strength=128))
    canvas.drawString(100, 700, "hidden")
    canvas.save()
    with pytest.raises(Unreadable, match="is encrypted with a password"):
        pdf(out.getvalue(), max_pages=3)
    with pytest.raises(Unreadable):
        pdf(made([Paragraph("text " * 500, STYLES["BodyText"])])[:400], max_pages=3)


@pytest.mark.skipif(not PDFS.is_dir(), reason="the real PDFs are not beside this checkout")
def test_a_real_form_and_real_slides_keep_title_pages_and_words() -> None:
    form = pdf((PDFS / "tts_EFT_Enrollment_Form.pdf").read_bytes(), max_pages=99)
    assert form.title == "ELECTRONIC FUNDS TRANSFER (EFT) ENROLLMENT FORM"
    assert len(form.pages) == 1
    assert "Fax to: 816-823-5415" in form.text
    slides = pdf((PDFS / "fedramp_slides_Developer_Data_Bites_Presentation_2.08.2024.pdf").read_bytes(), max_pages=99)
    assert len(slides.pages) == 20
    assert "HTML versions of the OSCAL guides" in " ".join(slides.text.split())
    assert slides.text[slides.pages[2] :].lstrip("# ").startswith("Data Bites Guiding Principles")
