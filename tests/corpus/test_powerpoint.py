from typing import Any

from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from pipelines.corpus.detection import PPTX
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import ConvertedDocument
from tests.corpus.word_files import save

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)
TITLE_ONLY = 5  # layouts of python-pptx's template
COMPARISON = 4
BLANK = 6


def read(file: Any) -> ConvertedDocument:
    return convert(save(file), PPTX, BOUNDS)


def add_box(shapes: Any, text: str, left: float, top: float) -> Any:
    """A text box of 4 x 1 inches."""
    box = shapes.add_textbox(Inches(left), Inches(top), Inches(4), Inches(1))
    box.text_frame.text = text
    return box


def test_a_pptx_has_a_page_per_slide_with_its_title_texts_tables_and_notes() -> None:
    file = Presentation()
    soup = file.slides.add_slide(file.slide_layouts[1])
    soup.shapes.title.text = "Soup"
    soup.placeholders[1].text = "Boil water\nAdd salt"
    soup.notes_slide.notes_text_frame.text = "Say it slowly."
    bread = file.slides.add_slide(file.slide_layouts[TITLE_ONLY])
    bread.shapes.title.text = "Bread"
    table = bread.shapes.add_table(1, 2, Inches(1), Inches(3), Inches(4), Inches(1)).table
    table.cell(0, 0).text = "Flour"
    table.cell(0, 1).text = "500 g"
    document = read(file)
    assert document.text == (
        "# Soup\n\nBoil water\nAdd salt\n\nSay it slowly.\n\n"
        "# Bread\n\n| Flour | 500 g |\n| --- | --- |\n"
    )
    assert document.pages == [0, document.text.index("# Bread")]


def test_two_columns_are_read_one_after_the_other() -> None:
    file = Presentation()
    slide = file.slides.add_slide(file.slide_layouts[COMPARISON])
    slide.shapes.title.text = "Compare"
    texts = ["Left head", "Left body", "Right head", "Right body"]
    placeholders = {shape.placeholder_format.idx: shape for shape in slide.placeholders}
    for index, text in enumerate(texts, start=1):
        placeholders[index].text = text
    assert read(file).text == ("# Compare\n\nLeft head\n\nLeft body\n\nRight head\n\nRight body\n")


def test_shapes_are_read_by_their_position_even_if_they_are_drawn_in_another_order() -> None:
    file = Presentation()
    slide = file.slides.add_slide(file.slide_layouts[BLANK])
    add_box(slide.shapes, "right", 5, 2)
    add_box(slide.shapes, "left", 0.5, 2.05)
    add_box(slide.shapes, "below", 0.5, 5)
    box = add_box(slide.shapes, "top", 0.5, 0.2)
    box.width = Inches(9)
    assert read(file).text == "top\n\nleft\n\nright\n\nbelow\n"


def test_the_shapes_of_a_group_stay_together() -> None:
    file = Presentation()
    slide = file.slides.add_slide(file.slide_layouts[BLANK])
    add_box(slide.shapes, "last", 0.5, 6)
    group = slide.shapes.add_group_shape()
    add_box(group.shapes, "second", 0.5, 3)
    inner_group = group.shapes.add_group_shape()
    add_box(inner_group.shapes, "first", 0.5, 1)
    assert read(file).text == "first\n\nsecond\n\nlast\n"


def test_merged_cells_of_a_table_name_their_columns() -> None:
    file = Presentation()
    slide = file.slides.add_slide(file.slide_layouts[BLANK])
    table = slide.shapes.add_table(3, 3, Inches(1), Inches(1), Inches(6), Inches(2)).table
    rows = [["Item", "Sales", ""], ["", "2025", "2026"], ["Pot", "1", "2"]]
    for row_number, row in enumerate(rows):
        for column, text in enumerate(row):
            table.cell(row_number, column).text = text
    table.cell(0, 1).merge(table.cell(0, 2))
    table.cell(0, 0).merge(table.cell(1, 0))
    assert read(file).text == (
        "| Item | Sales 2025 | Sales 2026 |\n| --- | --- | --- |\n| Pot | 1 | 2 |\n"
    )


def test_a_chart_gives_its_series() -> None:
    file = Presentation()
    slide = file.slides.add_slide(file.slide_layouts[BLANK])
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("Q1", (19.2, 21.4))
    size = (Inches(1), Inches(1), Inches(4), Inches(3))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *size, data)
    assert read(file).text == "Q1: East: 19.2; West: 21.4\n"


def test_indented_paragraphs_are_a_list_and_raised_digits_are_marked() -> None:
    file = Presentation()
    slide = file.slides.add_slide(file.slide_layouts[BLANK])
    frame = add_box(slide.shapes, "Fruit", 1, 1).text_frame
    inner = frame.add_paragraph()
    inner.text = "Pear"
    inner.level = 1
    formula = add_box(slide.shapes, "10", 1, 3).text_frame.paragraphs[0]
    power = formula.add_run()
    power.text = "6"
    power.font._element.set("baseline", "30000")
    assert read(file).text == "- Fruit\n  - Pear\n\n10^6\n"


def test_numbers_of_slides_and_footers_are_left_out_and_counted() -> None:
    file = Presentation()
    slide = file.slides.add_slide(file.slide_layouts[TITLE_ONLY])
    slide.shapes.title.text = "Soup"
    box = add_box(slide.shapes, "ACME internal", 1, 6)
    properties = box._element.nvSpPr.nvPr
    placeholder = properties.makeelement(
        "{http://schemas.openxmlformats.org/presentationml/2006/main}ph", {"type": "ftr"}
    )
    properties.append(placeholder)
    document = read(file)
    assert document.text == "# Soup\n"
    assert document.left_out == {"heads and footers": 13}


def test_targets_of_links_are_listed_below_their_slide() -> None:
    file = Presentation()
    slide = file.slides.add_slide(file.slide_layouts[BLANK])
    run = add_box(slide.shapes, "See ", 1, 1).text_frame.paragraphs[0].add_run()
    run.text = "the recipe"
    run.hyperlink.address = "https://soup.example/how"
    assert read(file).text == (
        "See the recipe\n\nLinks:\n\n* the recipe: https://soup.example/how\n"
    )
