"""Scanned pages, recognised by a real Tesseract."""

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from pipelines.corpus import recognition
from pipelines.corpus.parts import Unreadable
from pipelines.corpus.pdf import convert_pdf
from pipelines.corpus.recognition import Recogniser

pytestmark = pytest.mark.skipif(
    shutil.which("tesseract") is None,
    reason="no tesseract on this machine: apt-get install tesseract-ocr",
)
LINES = [
    ["The kettle holds two litres of water.", "It boils after three minutes."],
    ["Empty it once a week, and let it dry."],
]


def scan(paragraphs: list[list[str]]) -> ImageReader:
    """A page of paper, photographed: black letters on grey, without any text that a PDF knows."""
    picture = Image.new("L", (1240, 1754), 235)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=34)
    height = 200
    for lines in paragraphs:
        for line in lines:
            draw.text((150, height), line, fill=20, font=font)
            height += 52
        height += 70
    return ImageReader(picture)


def write_pdf(*pages: list[list[str]] | str) -> bytes:
    """A scanned page for each list of paragraphs, an ordinary one for each text."""
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    for page in pages:
        if isinstance(page, str):
            canvas.drawString(72, 700, page)
        else:
            canvas.drawImage(scan(page), 0, 0, *A4)
        canvas.showPage()
    canvas.save()
    return content.getvalue()


def test_scanned_pages_become_paragraphs_on_their_pages() -> None:
    recogniser = recognition.find(("eng",))
    content = write_pdf(LINES, "An ordinary page with letters.", [["The last page is scanned."]])
    document = convert_pdf(content, 9, recogniser)
    assert document.text == (
        "The kettle holds two litres of water.\nIt boils after three minutes.\n\n"
        "Empty it once a week, and let it dry.\n\n"
        "An ordinary page with letters.\n\n"
        "The last page is scanned.\n"
    )
    starts = [document.text.index(text) for text in ("The kettle", "An ordinary", "The last")]
    assert document.pages == starts
    assert document.left_out == {}
    assert document.sections == []


def test_the_same_scan_gives_the_same_text() -> None:
    recogniser = recognition.find(("eng",))
    content = write_pdf(LINES)
    assert convert_pdf(content, 9, recogniser) == convert_pdf(content, 9, recogniser)


def test_pictures_without_letters_stay_a_rejection() -> None:
    content = write_pdf([], [])
    with pytest.raises(Unreadable, match="2 of its 2 pages .*: Tesseract recognises none on them"):
        convert_pdf(content, 9, recognition.find(("eng",)))


def test_a_language_that_is_not_installed_is_named_with_its_package() -> None:
    recogniser = recognition.find(("eng", "xyz_vert"))
    assert recogniser.problem == (
        "Tesseract lacks their language: apt-get install tesseract-ocr-xyz-vert"
    )
    with pytest.raises(Unreadable, match="apt-get install tesseract-ocr-xyz-vert"):
        convert_pdf(write_pdf(LINES), 9, recogniser)


def test_without_tesseract_the_rejection_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    recognition.find.cache_clear()
    recogniser = recognition.find(("eng",))
    recognition.find.cache_clear()
    with pytest.raises(Unreadable, match="apt-get install tesseract-ocr"):
        convert_pdf(write_pdf(LINES), 9, recogniser)


def test_a_node_without_tesseract_rejects_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser = recognition.find(("eng",))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unreadable, match="page 1 is a scanned picture: Tesseract is not installed"):
        convert_pdf(write_pdf(LINES), 9, recogniser)


def test_what_tesseract_says_is_the_reason() -> None:
    recogniser = Recogniser(("nosuch",), "5", "")
    with pytest.raises(Unreadable, match="Tesseract ended with 1: .*nosuch"):
        convert_pdf(write_pdf(LINES), 9, recogniser)
