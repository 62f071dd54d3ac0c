import datetime
import re
import time
from typing import Any

from openpyxl import Workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment

from pipelines.corpus.detection import XLSX
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import ConvertedDocument
from tests.corpus.hostile_files import SHEET, add_member, alter, replace_rows
from tests.corpus.word_files import save

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 26)


def read(content: bytes) -> ConvertedDocument:
    return convert(content, XLSX, BOUNDS)


def make_xlsx(*rows: list[Any], formats: dict[str, str] | None = None) -> bytes:
    """A workbook of one sheet; `formats` are the number formats of cells."""
    file = Workbook()
    sheet = file.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    for position, number_format in (formats or {}).items():
        sheet[position].number_format = number_format
    return save(file)


def lines(content: bytes) -> str:
    """The text below the heading of the only sheet."""
    return read(content).text.removeprefix("# Sheet\n\n")


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
    document = read(save(file))
    assert document.text == (
        "# Stock\n\n- Item: Pots; Count: 3; Since: 2026-01-05\n- Item: Pans; Count: 2.5\n\n"
        "# Notes\n\n- only a head\n"
    )
    assert document.pages == [0, document.text.index("# Notes")]


def test_a_dimension_that_other_exporters_misstate_is_not_believed() -> None:
    content = alter(
        make_xlsx(["Item", "Count"], ["Pots", 3]),
        SHEET,
        lambda body: re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', body),
    )
    assert lines(content) == "- Item: Pots; Count: 3\n"


def test_cells_without_references_and_rows_without_numbers_are_read_in_their_order() -> None:
    content = alter(
        make_xlsx(["Item", "Count"], ["Pots", 3]),
        SHEET,
        lambda body: re.sub(rb'(<(?:c|row)) r="[^"]*"', rb"\1", body),
    )
    assert lines(content) == "- Item: Pots; Count: 3\n"


def test_a_stray_cell_far_away_costs_nothing() -> None:
    file = Workbook()
    sheet = file.active
    assert sheet is not None
    sheet.append(["Item", "Count"])
    sheet.append(["Pots", 3])
    sheet.cell(20_000, 16_384, "stray")
    content = save(file)
    start = time.process_time()
    assert "Item: Pots; Count: 3" in lines(content)
    assert time.process_time() - start < 1
    assert "stray" in lines(content)


def test_a_formula_that_was_never_computed_stands_for_itself() -> None:
    content = make_xlsx(["Item", "Count"], ["Pots", 3], ["Pans", 4], ["Sum", "=SUM(B2:B3)"])
    assert lines(content).endswith("- Item: Sum; Count: =SUM(B2:B3)\n")


def test_a_shared_formula_is_moved_to_each_cell_that_shares_it() -> None:
    rows = (
        b'<row><c t="str"><v>A</v></c><c t="str"><v>Twice</v></c></row>'
        b'<row><c r="A2"><v>1</v></c><c r="B2"><f t="shared" ref="B2:B3" si="0">A2*2</f></c></row>'
        b'<row><c r="A3"><v>2</v></c><c r="B3"><f t="shared" si="0"/><v></v></c></row>'
    )
    content = alter(make_xlsx(["A"]), SHEET, replace_rows(rows))
    assert lines(content) == "- A: 1; Twice: =A2*2\n- A: 2; Twice: =A3*2\n"


def test_a_formula_has_its_cached_value_even_if_that_is_the_empty_text() -> None:
    content = alter(
        make_xlsx(["Item", "Count"], ["Pots", "=1+2"], ["Pans", '=""']),
        SHEET,
        lambda body: (
            body.replace(b"<f>1+2</f><v></v>", b"<f>1+2</f><v>3</v>")
            .replace(b"<f>1+2</f><v/>", b"<f>1+2</f><v>3</v>")
            .replace(b'<c r="B3">', b'<c r="B3" t="str">')
        ),
    )
    assert lines(content) == "- Item: Pots; Count: 3\n- Item: Pans\n"


def test_numbers_are_read_with_the_units_that_their_formats_show() -> None:
    content = make_xlsx(
        ["Share", "Price", "Weight", "Zip", "At", "Seen", "Ratio"],
        [0.15, 12.5, 3, 123, datetime.time(14, 30), datetime.datetime(2026, 1, 5, 9, 5), 0.1 + 0.2],
        formats={"A2": "0%", "B2": '"$"#,##0.00', "C2": '0" kg"', "D2": "00000", "E2": "h:mm"},
    )
    assert lines(content) == (
        "- Share: 15%; Price: $12.5; Weight: 3 kg; Zip: 00123; At: 14:30; "
        "Seen: 2026-01-05 09:05; Ratio: 0.3\n"
    )


def test_dates_that_count_from_1904_are_read_right() -> None:
    content = make_xlsx(["When"], [42_000], formats={"A2": "yyyy-mm-dd"})
    assert lines(content) == "- When: 2014-12-27\n"
    content = alter(
        content,
        "xl/workbook.xml",
        lambda body: body.replace(b"<workbookPr/>", b'<workbookPr date1904="1"/>'),
    )
    assert lines(content) == "- When: 2018-12-28\n"


def test_a_title_above_the_head_is_a_caption() -> None:
    content = make_xlsx(["Stock report 2026"], [], ["Item", "Count"], ["Pots", "three"])
    assert lines(content) == "Stock report 2026\n\n- Item: Pots; Count: three\n"
    content = make_xlsx(["Stock report 2026"], ["Item", "Count"], ["Pots", 3], [], ["Source: us"])
    assert lines(content) == ("Stock report 2026\n\n- Item: Pots; Count: 3\n\nSource: us\n")


def test_a_head_of_two_rows_names_each_column_by_both_and_merged_cells_stand_in_each_row() -> None:
    file = Workbook()
    sheet = file.active
    assert sheet is not None
    sheet.append(["Item", 2025, None, 2026, None])
    sheet.append([None, "Jan", "Feb", "Jan", "Feb"])
    sheet.append(["Pot", 1, 2, 3, 4])
    sheet.append([None, 5, 6, 7, 8])
    for merged_range in ("A1:A2", "B1:C1", "D1:E1", "A3:A4"):
        sheet.merge_cells(merged_range)
    assert lines(save(file)) == (
        "- Item: Pot; 2025 Jan: 1; 2025 Feb: 2; 2026 Jan: 3; 2026 Feb: 4\n"
        "- Item: Pot; 2025 Jan: 5; 2025 Feb: 6; 2026 Jan: 7; 2026 Feb: 8\n"
    )


def test_notes_at_cells_are_read() -> None:
    file = Workbook()
    sheet = file.active
    assert sheet is not None
    sheet.append(["Item", "Count"])
    sheet.append(["Pots", 3])
    sheet["B2"].comment = Comment("Counted in May", "Ada")
    assert lines(save(file)) == "- Item: Pots; Count: 3\n\nNotes:\n\n- B2: Counted in May\n"


def test_a_link_to_another_workbook_whose_part_is_missing_changes_nothing() -> None:
    link = (
        b'<Relationship Id="rId90" Target="externalLinks/externalLink1.xml" '
        b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/externalLink"/>'
        b"</Relationships>"
    )
    content = alter(
        make_xlsx(["Item", "Count"], ["Pots", "=[1]Stock!B2"]),
        "xl/_rels/workbook.xml.rels",
        lambda body: body.replace(b"</Relationships>", link),
    )
    content = alter(
        content,
        "xl/workbook.xml",
        lambda body: body.replace(
            b"<calcPr",
            b'<externalReferences xmlns:r="http://schemas.openxmlformats.org'
            b'/officeDocument/2006/relationships"><externalReference r:id="rId90"/>'
            b"</externalReferences><calcPr",
        ),
    )
    assert lines(content) == "- Item: Pots; Count: =[1]Stock!B2\n"


def test_a_stylesheet_that_openpyxl_refuses_does_not_keep_the_cells_from_being_read() -> None:
    content = alter(
        make_xlsx(["Item", "Share"], ["Pots", 0.5], formats={"B2": "0%"}),
        "xl/styles.xml",
        lambda body: re.sub(
            rb"<fonts.*</fonts>", b'<fonts><font><family val="99"/></font></fonts>', body
        ),
    )
    assert lines(content) == "- Item: Pots; Share: 50%\n"


def test_rich_strings_and_escaped_characters_are_read_without_readings_of_words() -> None:
    strings = (
        '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><r><t>仮</t></r>'
        "<r><t>名_x0041_</t></r><rPh sb='0' eb='2'><t>かな</t></rPh></si></sst>"
    )
    relation = (
        b'<Relationship Id="rId91" Target="sharedStrings.xml" Type="http://schemas.openxmlformats'
        b'.org/officeDocument/2006/relationships/sharedStrings"/></Relationships>'
    )
    content = alter(make_xlsx(["rich"]), SHEET, replace_rows(b'<row><c t="s"><v>0</v></c></row>'))
    content = alter(
        content,
        "xl/_rels/workbook.xml.rels",
        lambda body: body.replace(b"</Relationships>", relation),
    )
    content = add_member(content, "xl/sharedStrings.xml", strings.encode())
    assert lines(content) == "- 仮名A\n"


def test_a_long_sheet_has_sections_that_say_which_rows_they_hold() -> None:
    rows = [[f"item {number}", number] for number in range(250)]
    document = read(make_xlsx(["Item", "Count"], *rows))
    headings = [section["heading"] for section in document.sections]
    assert headings == ["Sheet", "Rows 2 to 101", "Rows 102 to 201", "Rows 202 to 251"]
    last = document.sections[-1]
    section_lines = document.text[last["start"] : last["end"]].split("\n")
    assert section_lines[2] == "- Item: item 200; Count: 200"


def test_targets_of_links_and_titles_of_charts_are_read() -> None:
    file = Workbook()
    sheet = file.active
    assert sheet is not None
    sheet.append(["Item", "Count"])
    sheet.append(["Pots", 3])
    sheet["A2"].hyperlink = "https://soup.example/pots"
    chart = BarChart()
    chart.title = "Pots by year"
    chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=2), titles_from_data=True)
    sheet.add_chart(chart, "D2")
    assert read(save(file)).text == (
        "# Sheet\n\n- Item: Pots; Count: 3\n\n"
        "Links:\n\n* Pots: https://soup.example/pots\n\nPots by year\n"
    )
