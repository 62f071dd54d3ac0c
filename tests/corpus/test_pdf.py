import io
import unicodedata
from collections import Counter
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.utils import ImageReader
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
from tests.corpus.written_pdfs import Text, write_page

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


def test_scanned_pages_are_a_rejection_that_counts_them_and_names_text_recognition() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.drawImage(ImageReader(Image.new("L", (40, 60), 128)), 0, 0, *A4)
    canvas.showPage()
    canvas.drawImage(ImageReader(Image.new("L", (40, 60), 99)), 0, 0, *A4)
    canvas.save()
    problem = "2 of its 2 pages are scanned pictures without text: `ingest.ocr_languages`"
    with pytest.raises(Unreadable, match=problem):
        convert_pdf(content.getvalue(), max_pages=3)


def test_a_scanned_page_on_which_only_a_stamp_is_text_is_a_scanned_page() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.drawImage(ImageReader(Image.new("L", (40, 60), 128)), 0, 0, *A4)
    canvas.drawString(400, 20, "Scanned with a telephone")
    canvas.save()
    with pytest.raises(Unreadable, match="1 of its 1 pages are scanned pictures"):
        convert_pdf(content.getvalue(), max_pages=3)


def test_lines_that_lie_askew_are_one_text_with_those_that_do_not() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    for number, angle in enumerate([0, 1, -1, 2]):
        canvas.saveState()
        canvas.translate(72, 700 - number * 18)
        canvas.rotate(angle)
        canvas.drawString(0, 0, f"Line {number} of a scanned page.")
        canvas.restoreState()
    canvas.save()
    lines = convert_pdf(content.getvalue(), max_pages=3).text.split("\n")
    assert [line for line in lines if line] == [
        f"Line {number} of a scanned page." for number in range(4)
    ]


def test_a_picture_among_pages_with_text_is_counted_as_left_out() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    for number in range(3):
        canvas.drawString(72, 700, f"Chapter {number} tells about bread.")
        canvas.showPage()
    canvas.drawImage(ImageReader(Image.new("L", (40, 60), 128)), 0, 0, *A4)
    canvas.save()
    document = convert_pdf(content.getvalue(), max_pages=9)
    num_letters = len("Chapter0tellsaboutbread.")
    assert document.left_out == {"pages that are pictures": num_letters}


def test_pages_with_neither_text_nor_a_picture_are_a_rejection_that_says_so() -> None:
    content = io.BytesIO()
    canvas = Canvas(content)
    canvas.rect(10, 10, 100, 100, fill=1)
    canvas.save()
    with pytest.raises(Unreadable, match="its 1 pages hold neither text nor a scanned picture"):
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


def draw(lines: list[str], top: int = 700, leading: int = 15) -> bytes:
    """A page with these lines below each other."""
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.setFont("Helvetica", 12)
    for number, line in enumerate(lines):
        canvas.drawString(72, top - number * leading, line)
    canvas.save()
    return content.getvalue()


def test_text_inside_a_form_xobject_is_read() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.drawString(72, 700, "Outside stands one line.")
    canvas.beginForm("stamp")
    canvas.drawString(72, 600, "Inside stands another.")
    canvas.endForm()
    canvas.doForm("stamp")
    canvas.save()
    document = convert_pdf(content.getvalue(), max_pages=3)
    assert document.text == "Outside stands one line.\n\nInside stands another.\n"
    assert document.left_out == {}


def test_what_is_filled_into_a_form_is_read() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.drawString(72, 700, "Name of the cook")
    canvas.acroForm.textfield(name="cook", value="Ada Lovelace", x=200, y=690, width=200, height=24)
    canvas.save()
    words = convert_pdf(content.getvalue(), max_pages=3).text.split()
    assert words == ["Name", "of", "the", "cook", "Ada", "Lovelace"]


def test_a_dynamic_xfa_form_is_a_rejection_that_says_what_to_do() -> None:
    texts = [Text("Please wait", 72, 700)]
    catalog = "/AcroForm << /Fields [] /XFA (x) >> /NeedsRendering true"
    with pytest.raises(Unreadable, match="is a dynamic XFA form, .*: print it to a PDF"):
        convert_pdf(write_page(texts, catalog=catalog), max_pages=3)


def test_characters_without_a_unicode_table_are_a_rejection_that_says_what_to_do() -> None:
    texts = [Text("Secret words", 72, 700)]
    problem = "12 of its 12 characters are unknown.* export it again, or recognise its text"
    with pytest.raises(Unreadable, match=problem):
        convert_pdf(write_page(texts, has_unicode_table=False), max_pages=3)
    assert convert_pdf(write_page(texts), max_pages=3).text == "Secret words\n"


def test_a_few_unknown_characters_are_marked_and_counted() -> None:
    texts = [Text("The long text has one \ue123 of them.", 72, 700)]
    document = convert_pdf(write_page(texts), max_pages=3)
    assert document.text == "The long text has one \ufffd of them.\n"
    assert document.left_out == {"characters that their font does not name": 1}


def test_ligatures_and_symbol_bullets_become_letters_and_bullets() -> None:
    texts = [Text("\uf0b7 The o\ufb03ce work\ufb02ow is \ufb01nal", 72, 700)]
    document = convert_pdf(write_page(texts), max_pages=3)
    assert document.text == "• The office workflow is final\n"


def test_hebrew_and_arabic_are_read_from_right_to_left() -> None:
    # Drawn from left to right, as every PDF has it: the last letter comes first.
    hebrew = "שלום עולם"
    arabic = "مرحبا بالعالم"
    texts = [Text(hebrew[::-1], 300, 700), Text(arabic[::-1], 300, 680)]
    document = convert_pdf(write_page(texts), max_pages=3)
    assert document.text.split("\n")[:2] == [hebrew, arabic]


def test_a_word_that_a_line_cuts_is_joined_and_a_compound_keeps_its_hyphen() -> None:
    lines = [
        "The pipeline starts a work-",
        "flow for each of the docu-",
        "ments by a state-of-the-",
        "art reader and writes UTF-",
        "8, which is a well-known code, and well-",
        "known codes are time-",
        "consuming, as much time as consuming them.",
    ]
    words = " ".join(convert_pdf(draw(lines), max_pages=3).text.split())
    assert words == (
        "The pipeline starts a workflow for each of the documents by a state-of-the-art reader and "
        "writes UTF-8, which is a well-known code, and well-known codes are time-consuming, as "
        "much time as consuming them."
    )


def test_running_heads_and_page_numbers_are_left_out_and_cut_no_sentence() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    lines = [
        "The cook reads in the docu-",
        "ments on soup and knows",
        "how it is cooked, but the",
        "end.",
    ]
    for page, line in enumerate(lines):
        canvas.setFont("Helvetica", 9)
        canvas.drawString(72, 800, "Kitchen manual, version 3")
        canvas.drawString(280, 40, f"Page {page + 1} of 4")
        canvas.setFont("Helvetica", 12)
        canvas.drawString(72, 600, line)
        canvas.showPage()
    canvas.save()
    document = convert_pdf(content.getvalue(), max_pages=9)
    assert document.text == (
        "The cook reads in the documents\non soup and knows\nhow it is cooked, but the\nend.\n"
    )
    assert [document.text[start:][:3] for start in document.pages] == ["The", "on ", "how", "end"]
    num_letters = 4 * len("Kitchen manual, version 3") + 4 * len("Page 1 of 4")
    assert document.left_out == {"running heads and page numbers": num_letters}


def test_running_heads_in_a_larger_font_than_the_text_stay_once_and_page_numbers_never() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    for page, line in enumerate(["Boil the", "soup for an hour.", "Add salt.", "Eat it."]):
        canvas.setFont("Helvetica", 12)
        canvas.drawString(72, 800, "Kitchen manual")
        canvas.drawString(280, 40, f"Page {page + 1} of 4")
        canvas.setFont("Helvetica", 9)
        canvas.drawString(72, 600, f"{line} The cook reads it in this small font.")
        canvas.showPage()
    canvas.save()
    text = convert_pdf(content.getvalue(), max_pages=9).text
    assert text.count("Kitchen manual") == 1
    assert "Page" not in text


def test_titles_that_few_slides_repeat_stay() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    for page in range(8):
        canvas.setFont("Helvetica", 24)
        canvas.drawString(72, 800, "Agenda" if page % 2 else f"Chapter {page}")
        canvas.setFont("Helvetica", 10)
        canvas.drawString(72, 600, f"The cook says {page * page} words about soup on this slide.")
        canvas.showPage()
    canvas.save()
    text = convert_pdf(content.getvalue(), max_pages=9).text
    assert text.count("Agenda") == 4
    assert text.count("Chapter") == 4


def test_lines_that_differ_in_more_than_a_page_number_are_no_running_heads() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    for page in range(5):
        canvas.drawString(72, 810, f"Rule {page * 7}: wash the pot.")
        canvas.drawString(72, 30, f"Error E{1000 + page * page} means fire.")
        canvas.showPage()
    canvas.save()
    document = convert_pdf(content.getvalue(), max_pages=9)
    for page in range(5):
        assert f"Rule {page * 7}: wash the pot." in document.text
        assert f"Error E{1000 + page * page} means fire." in document.text


def test_pages_that_hold_the_same_line_alone_keep_it() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    for _ in range(3):
        canvas.drawString(72, 800, "potatoes")
        canvas.showPage()
    canvas.save()
    text = convert_pdf(content.getvalue(), max_pages=9).text
    assert text == "potatoes\n\npotatoes\n\npotatoes\n"


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_page_is_read_like_any_other(rotation: int) -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.setPageRotation(rotation)
    canvas.drawString(100, 500, "The first line is about soup.")
    canvas.drawString(100, 485, "The second line is about bread.")
    canvas.save()
    text = convert_pdf(content.getvalue(), max_pages=3).text
    assert text == "The first line is about soup.\nThe second line is about bread.\n"


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_page_that_is_written_sideways_is_read_in_its_own_direction(angle: int) -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.translate(300, 400)
    canvas.rotate(angle)
    canvas.drawString(0, 0, "The first line is about soup.")
    canvas.drawString(0, -15, "The second line is about bread.")
    canvas.save()
    text = convert_pdf(content.getvalue(), max_pages=3).text
    assert text == "The first line is about soup.\nThe second line is about bread.\n"


def test_text_in_the_margin_and_a_stamp_are_read_in_their_own_direction_and_come_last() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.saveState()
    canvas.translate(30, 300)
    canvas.rotate(90)
    canvas.drawString(0, 0, "arXiv:2101.00001v1 in the margin")
    canvas.restoreState()
    canvas.saveState()
    canvas.translate(200, 300)
    canvas.rotate(45)
    canvas.setFont("Helvetica", 50)
    canvas.drawString(0, 0, "FINAL DRAFT")
    canvas.restoreState()
    for number in range(9):
        canvas.drawString(100, 700 - number * 15, "A line of the body tells about soup and bread.")
    canvas.save()
    document = convert_pdf(content.getvalue(), max_pages=3)
    body, margin, stamp = document.text.strip().split("\n\n")
    assert body == "\n".join(["A line of the body tells about soup and bread."] * 9)
    assert margin == "arXiv:2101.00001v1 in the margin"
    assert stamp == "FINAL DRAFT"
    assert document.sections == []


def test_letters_that_are_printed_over_each_other_are_read_once() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    for shift in (0, 0.3, 0.6):
        canvas.drawString(72 + shift, 700, "Warning: the bookkeeper is in room 1100")
    canvas.save()
    text = convert_pdf(content.getvalue(), max_pages=3).text
    assert text == "Warning: the bookkeeper is in room 1100\n"


ERROR_ROWS = [
    ["Code", "Meaning", "Retry"],
    ["E1001", "The disk is full", "no"],
    ["E1002", "The node does not answer in time", "yes"],
    ["E1003", "A key is missing", "no"],
]
ERROR_TABLE = (
    "| Code | Meaning | Retry |\n| --- | --- | --- |\n| E1001 | The disk is full | no |\n"
    "| E1002 | The node does not answer in time | yes |\n| E1003 | A key is missing | no |"
)


@pytest.mark.parametrize("is_by_column", [False, True])
def test_a_table_without_lines_is_read_by_row_however_the_file_draws_it(is_by_column: bool) -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.drawString(
        72, 760, "The table lists every code that the service returns to its callers."
    )
    cells = [(row, column) for row in range(4) for column in range(3)]
    if is_by_column:
        cells.sort(key=lambda cell: cell[1])
    for row, column in cells:
        canvas.drawString([72, 160, 400][column], 730 - row * 16, ERROR_ROWS[row][column])
    canvas.drawString(72, 640, "After the table comes a paragraph that is as wide as the page.")
    canvas.save()
    before, table, after = convert_pdf(content.getvalue(), max_pages=3).text.strip().split("\n\n")
    assert before.startswith("The table lists")
    assert table == ERROR_TABLE
    assert after.startswith("After the table")


def test_columns_that_stand_as_near_to_each_other_as_latex_sets_them_are_apart() -> None:
    rows = [["Code", "Meaning", "Retry"], ["E1", "Disk full", "no"], ["E2", "Net down", "yes"]]
    text = convert_pdf(write_pdf([Table(rows)]), max_pages=3).text
    assert text == (
        "| Code | Meaning | Retry |\n| --- | --- | --- |\n"
        "| E1 | Disk full | no |\n| E2 | Net down | yes |\n"
    )


def test_a_table_without_lines_whose_cells_have_several_lines_keeps_its_rows() -> None:
    story = [
        Table(
            [
                ["Code", "Meaning"],
                [
                    "E1",
                    paragraph(
                        "The disk of the node is full and nothing can be written to it. " * 2
                    ),
                ],
                [
                    "E2",
                    paragraph("The node does not answer, since its network is down or slow. " * 2),
                ],
                ["E3", "A key is missing"],
            ],
            colWidths=[80, 250],
        ),
    ]
    text = convert_pdf(write_pdf(story), max_pages=3).text
    rows = text.strip().split("\n")
    assert rows[0] == "| Code | Meaning |"
    assert rows[2].startswith("| E1 | The disk of the node is full")
    assert rows[3].startswith("| E2 | The node does not answer")
    assert rows[4] == "| E3 | A key is missing |"


def test_columns_of_prose_that_the_file_draws_line_by_line_are_no_table() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.setFont("Helvetica", 9)
    for number in range(12):
        canvas.drawString(
            60, 700 - number * 12, f"The left column tells about soup in line {number} of it"
        )
        canvas.drawString(
            320, 700 - number * 12, f"The right column is about bread in line {number} too"
        )
    canvas.save()
    text = convert_pdf(content.getvalue(), max_pages=3).text
    assert "|" not in text
    assert text.rindex("soup") < text.index("bread")


def test_entries_of_a_list_and_of_a_table_of_contents_stay_on_one_line() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    for number, entry in enumerate(["Soup", "Bread", "Salt"]):
        canvas.drawString(72, 700 - number * 15, "•")
        canvas.drawString(100, 700 - number * 15, entry)
        canvas.drawString(72, 600 - number * 15, f"7.4.{number}.")
        canvas.drawString(
            120, 600 - number * 15, f"{entry} ................................ {number}"
        )
    canvas.save()
    text = convert_pdf(content.getvalue(), max_pages=3).text
    assert "• Soup\n• Bread\n• Salt" in text
    assert "7.4.0. Soup 0\n7.4.1. Bread 1\n7.4.2. Salt 2" in text


def test_text_outside_of_the_page_is_left_out_and_counted() -> None:
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=A4)
    canvas.drawString(72, 700, "What the reader sees.")
    canvas.drawString(72, -50, "hidden")
    canvas.save()
    document = convert_pdf(content.getvalue(), max_pages=3)
    assert document.text == "What the reader sees.\n"
    assert document.left_out == {"characters outside the page": 6}


def test_a_raised_digit_is_a_power() -> None:
    text = "It holds 10<super>6</super> rows."
    assert convert_pdf(write_pdf([paragraph(text)]), max_pages=3).text == "It holds 10^6 rows.\n"


@pytest.mark.skipif(not PDFS.is_dir(), reason="the real PDFs are not beside this checkout")
@pytest.mark.parametrize("path", sorted(PDFS.glob("*.pdf")), ids=lambda path: path.stem[:30])
def test_of_real_pdfs_no_letter_is_lost_that_is_not_counted(path: Path) -> None:
    document = convert_pdf(path.read_bytes(), max_pages=2000)
    with pypdfium2.PdfDocument(path) as file:
        text = "".join(page.get_textpage().get_text_bounded() for page in file)
    lost_letters = count_letters(text) - count_letters(document.text)
    new_letters = count_letters(document.text) - count_letters(text)
    assert lost_letters.total() <= sum(document.left_out.values()) + 0.001 * len(text)
    assert new_letters.total() <= 0.001 * len(text)


def count_letters(text: str) -> Counter[str]:
    return Counter(filter(str.isalnum, unicodedata.normalize("NFKC", text)))
