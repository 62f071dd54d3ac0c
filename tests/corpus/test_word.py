import random

import pytest
from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import OxmlElement
from docx.oxml.ns import qn

from pipelines.corpus.detection import DOCX
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import ConvertedDocument, Unreadable
from tests.corpus.word_files import cell, make_docx, paragraph, part, row, run, save, table

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)
NUMBERING = part(
    "numbering",
    '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/>'
    '<w:lvlText w:val="&#xF0B7;"/></w:lvl><w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/>'
    '<w:lvlText w:val="o"/></w:lvl></w:abstractNum>'
    '<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:start w:val="1"/>'
    '<w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl><w:lvl w:ilvl="1">'
    '<w:start w:val="1"/><w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%1%2)"/></w:lvl>'
    "</w:abstractNum>"
    '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    '<w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>',
)
NOTES = part(
    "footnotes",
    '<w:footnote w:type="separator" w:id="-1"><w:p><w:r><w:separator/></w:r></w:p></w:footnote>'
    '<w:footnote w:id="2"><w:p><w:r><w:footnoteRef/></w:r><w:r>'
    '<w:t xml:space="preserve"> Seen in June.</w:t></w:r></w:p></w:footnote>',
)


RAISED = '<w:vertAlign w:val="superscript"/>'


def read(content: bytes) -> ConvertedDocument:
    return convert(content, DOCX, BOUNDS)


def item(text: str, number_id: int, depth: int = 0) -> str:
    numbering = f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{number_id}"/></w:numPr>'
    return paragraph(text, properties=numbering)


def field(kind: str) -> str:
    return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'


def text_box(content: str) -> str:
    return (
        "<w:drawing><wp:anchor><a:graphic><a:graphicData><wps:wsp><wps:txbx><w:txbxContent>"
        f"{content}</w:txbxContent></wps:txbx></wps:wsp></a:graphicData></a:graphic></wp:anchor>"
        "</w:drawing>"
    )


def test_a_docx_keeps_headings_lists_and_tables_in_their_order() -> None:
    file = Document()
    file.add_heading("Kitchen", 0)
    file.add_paragraph("Before the table.")
    grid = file.add_table(rows=2, cols=2)
    grid.cell(0, 0).text = "Pot"
    grid.cell(0, 1).text = "Liters"
    grid.cell(1, 0).text = "small"
    grid.cell(1, 1).text = "2|3"
    file.add_heading("Steps", 2)
    file.add_paragraph("Boil", style="List Bullet")
    file.add_paragraph("Wait", style="List Bullet")
    document = read(save(file))
    assert document.text == (
        "# Kitchen\n\nBefore the table.\n\n"
        "| Pot | Liters |\n| --- | --- |\n| small | 2\\|3 |\n\n"
        "## Steps\n\n- Boil\n- Wait\n"
    )
    sections = [(section["heading"], section["level"]) for section in document.sections]
    assert sections == [("Kitchen", 1), ("Steps", 2)]
    assert document.title == "Kitchen"
    assert document.pages == []


@pytest.mark.parametrize(
    "frame",
    [
        '<w:ins w:id="1" w:author="a">{}</w:ins>',
        '<w:moveTo w:id="1" w:author="a">{}</w:moveTo>',
        "<w:sdt><w:sdtPr/><w:sdtContent>{}</w:sdtContent></w:sdt>",
        '<w:fldSimple w:instr=" DOCPROPERTY limit ">{}</w:fldSimple>',
        f"{field('begin')}<w:r><w:instrText> REF x </w:instrText></w:r>{field('separate')}{{}}"
        f"{field('end')}",
        '<w:smartTag w:element="number">{}</w:smartTag>',
        '<w:customXml w:element="number">{}</w:customXml>',
        '<w:hyperlink w:anchor="x">{}</w:hyperlink>',
        '<w:bdo w:val="ltr">{}</w:bdo>',
        "<w:sdt><w:sdtContent><w:ins w:id='1'><w:hyperlink>{}</w:hyperlink></w:ins>"
        "</w:sdtContent></w:sdt>",
        "<mc:AlternateContent><mc:Choice Requires='x'>{0}</mc:Choice><mc:Fallback>{0}"
        "</mc:Fallback></mc:AlternateContent>",
        "<w:unknown>{}</w:unknown>",
    ],
)
def test_a_word_is_read_whatever_frame_it_is_in(frame: str) -> None:
    body = paragraph("The limit is ", frame.format(run("500")), " users.")
    assert read(make_docx(body)).text == "The limit is 500 users.\n"


def test_what_was_deleted_or_is_hidden_is_left_out_and_counted() -> None:
    deleted = '<w:del w:id="1"><w:r><w:delText>four hundred</w:delText></w:r></w:del>'
    moved = f'<w:moveFrom w:id="2">{run("gone")}</w:moveFrom>'
    body = paragraph(
        "Five", deleted, moved, run(" secret", "<w:vanish/>"), run("!", '<w:vanish w:val="0"/>')
    )
    document = read(make_docx(body))
    assert document.text == "Five!\n"
    assert document.left_out == {"deleted text": 16, "hidden text": 7}


def test_controls_around_paragraphs_rows_and_cells_hide_nothing() -> None:
    control = "<w:sdt><w:sdtPr/><w:sdtContent>{}</w:sdtContent></w:sdt>"
    body = control.format(paragraph("Inside a control.")) + table(
        row(cell("A"), control.format(cell("B"))), control.format(row(cell("1"), cell("2")))
    )
    assert read(make_docx(body)).text == (
        "Inside a control.\n\n| A | B |\n| --- | --- |\n| 1 | 2 |\n"
    )


def test_a_text_box_follows_its_paragraph_once() -> None:
    content = paragraph("In the box.")
    old_box = (
        f"<w:pict><v:shape><v:textbox><w:txbxContent>{content}</w:txbxContent></v:textbox>"
        "</v:shape></w:pict>"
    )
    both = (
        f"<w:r><mc:AlternateContent><mc:Choice Requires='wps'>{text_box(content)}</mc:Choice>"
        f"<mc:Fallback>{old_box}</mc:Fallback></mc:AlternateContent></w:r>"
    )
    for box in (both, f"<w:r>{text_box(content)}</w:r>", f"<w:r>{old_box}</w:r>"):
        text = read(make_docx(paragraph("Before ", box, "after."))).text
        assert text == "Before after.\n\nIn the box.\n"


def test_notes_follow_the_block_that_refers_to_them() -> None:
    reference = (
        '<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:{}Reference w:id="2"/></w:r>'
    )
    body = paragraph("It holds", reference.format("footnote"), ".") + paragraph("Next.")
    document = read(make_docx(body, footnotes=NOTES))
    assert document.text == "It holds[1].\n\n[1] Seen in June.\n\nNext.\n"
    endnotes = NOTES.replace("footnote", "endnote")
    body = table(row(cell("A"), cell(paragraph("1", reference.format("endnote")))))
    document = read(make_docx(body, endnotes=endnotes))
    assert document.text == "| A | 1[1] |\n| --- | --- |\n\n[1] Seen in June.\n"


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        (("10", run("6", RAISED), " users"), "10^6 users"),
        (("x", run("1", RAISED), run("0", RAISED)), "x^10"),
        (("H", run("2", '<w:vertAlign w:val="subscript"/>'), "O"), "H2O"),
        (("v", run("max", '<w:vertAlign w:val="subscript"/>')), "v_max"),
        (("the 1", run("st", RAISED)), "the 1st"),
        (("e", "<w:r><w:noBreakHyphen/></w:r>", "mail"), "e-mail"),
        (("co", "<w:r><w:softHyphen/></w:r>", "operate"), "cooperate"),
        (("a", "<w:r><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r>"), "a\tb\nc"),
        (("20 ", '<w:r><w:sym w:font="Symbol" w:char="F0B0"/></w:r>', "C"), "20 °C"),
        (('<w:r><w:sym w:font="Wingdings" w:char="F0FC"/></w:r>', " done"), "✓ done"),
        (("now ", run("5", "<w:strike/>"), " 6"), "now ~~5~~ 6"),
        (
            ("<w:r><w:ruby><w:rt><w:r><w:t>かな</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>仮名</w:t>"
             "</w:r></w:rubyBase></w:ruby></w:r>",),
            "仮名",
        ),
        (
            ("<m:oMath><m:sSup><m:e><m:r><m:t>E=mc</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r>"
             "</m:sup></m:sSup></m:oMath>",),
            "E=mc^2",
        ),
        (
            ("<m:oMathPara><m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r>"
             "<m:t>2</m:t></m:r></m:den></m:f></m:oMath></m:oMathPara>",),
            "(a+b)/2",
        ),
    ],
)  # fmt: skip
def test_marks_within_a_line_are_kept(runs: tuple[str, ...], text: str) -> None:
    assert read(make_docx(paragraph(*runs))).text == f"{text}\n"


def test_bullets_and_numbers_are_read_without_a_list_style() -> None:
    body = (
        item("one", 1) + item("deeper", 1, 1) + paragraph("Between.")
        + item("first", 2) + item("sub", 2, 1) + item("sub", 2, 1) + item("second", 2)
    )  # fmt: skip
    assert read(make_docx(body, numbering=NUMBERING)).text == (
        "- one\n  - deeper\n\nBetween.\n\n1. first\n  1a) sub\n  1b) sub\n2. second\n"
    )


def test_a_heading_is_told_by_its_style_in_any_language_or_by_its_outline_level() -> None:
    body = (
        paragraph("One", style="Heading1") + paragraph("Two", style="berschrift2")
        + paragraph("Own", style="Chapter")
        + paragraph("Deep", properties='<w:outlineLvl w:val="2"/>')
        + paragraph("Text.", properties='<w:outlineLvl w:val="9"/>')
    )  # fmt: skip
    assert read(make_docx(body)).text == "# One\n\n## Two\n\n# Own\n\n### Deep\n\nText.\n"


def test_styles_without_names_and_a_file_without_styles_are_read() -> None:
    nameless = '<w:style w:type="paragraph" w:styleId="Heading1"/>'
    body = paragraph("Head", style="Heading1") + paragraph("Text.", style="Gone")
    assert read(make_docx(body, styles=nameless)).text == "# Head\n\nText.\n"
    assert read(make_docx(body, styles=None)).text == "Head\n\nText.\n"


def test_a_circle_of_styles_ends() -> None:
    circle = (
        '<w:style w:styleId="A"><w:name w:val="A"/><w:basedOn w:val="B"/></w:style>'
        '<w:style w:styleId="B"><w:name w:val="B"/><w:basedOn w:val="A"/></w:style>'
    )
    assert read(make_docx(paragraph("Text.", style="A"), styles=circle)).text == "Text.\n"


def test_a_merged_head_names_each_of_its_columns_and_a_merged_cell_stands_once_in_a_row() -> None:
    wide = '<w:gridSpan w:val="2"/>'
    start = '<w:vMerge w:val="restart"/>'
    below = "<w:vMerge/>"
    body = table(
        row(cell("Item", start), cell("Sales", wide)),
        row(cell("", below), cell("2025"), cell("2026")),
        row(cell("Pot", start), cell("1"), cell("2")),
        row(cell("", below), cell("sum: 3", wide)),
    )
    assert read(make_docx(body)).text == (
        "| Item | Sales 2025 | Sales 2026 |\n| --- | --- | --- |\n"
        "| Pot | 1 | 2 |\n| Pot | sum: 3 |  |\n"
    )
    body = table(row(cell("Item"), cell("Sales", wide)), row(cell("A"), cell("1"), cell("2")))
    assert read(make_docx(body)).text == "| Item | Sales |  |\n| --- | --- | --- |\n| A | 1 | 2 |\n"


def test_a_table_inside_a_cell_is_kept_and_a_frame_of_one_cell_is_no_table() -> None:
    inner_rows = row(cell("x"), cell("y")) + row(cell("2"), cell("3"))
    inner = paragraph("outer") + table(inner_rows) + paragraph("")
    inner_text = "| x | y |\n| --- | --- |\n| 2 | 3 |\n"
    body = table(row(cell("left"), cell(inner)))
    assert read(make_docx(body)).text == f"left\n\nouter\n\n{inner_text}"
    head = row(cell("A"), cell("B")).replace("<w:tr>", "<w:tr><w:trPr><w:tblHeader/></w:trPr>")
    body = table(head, row(cell("1"), cell(inner)))
    assert read(make_docx(body)).text == f"A:\n\n1\n\nB:\n\nouter\n\n{inner_text}"
    box = table(row(cell(paragraph("Note", style="Heading1") + paragraph("Do it."))))
    assert read(make_docx(box)).text == "# Note\n\nDo it.\n"


def test_what_stands_around_the_text_is_left_out_and_counted() -> None:
    styles = '<w:style w:styleId="TOC1"><w:name w:val="toc 1"/></w:style>'
    comment = part("comments", f'<w:comment w:id="0">{paragraph("Why?")}</w:comment>')
    document = read(
        make_docx(
            paragraph("Intro ... 1", style="TOC1") + paragraph("Text."),
            styles=styles,
            header1=part("hdr", paragraph("ACME")),
            footer1=part("ftr", paragraph("Page 1")),
            comments=comment,
        )
    )
    assert document.text == "Text.\n"
    assert document.left_out == {
        "table of contents": 11,
        "heads and footers": 10,
        "comments": 4,
    }


def test_lines_of_code_become_one_listing() -> None:
    styles = '<w:style w:styleId="Code"><w:name w:val="Source Code"/></w:style>'
    body = paragraph("def f():", style="Code") + paragraph("    return 1", style="Code")
    document = read(make_docx(paragraph("Try:") + body, styles=styles))
    assert document.text == "Try:\n\n```\ndef f():\n    return 1\n```\n"


def test_a_file_whose_text_is_embedded_is_refused_with_what_to_do() -> None:
    content = make_docx('<w:altChunk r:id="rId1"/>', styles=None, aFChunk="<html>Text</html>")
    with pytest.raises(Unreadable, match="open it in Word and save it"):
        read(content)


def random_inline(words: list[str], chance: random.Random) -> str:
    """Frames of random kinds around these words."""
    frames = ("ins", "hyperlink", "sdt", "fldSimple", "smartTag", "r", "r", "r")
    inside = ""
    for word in words:
        name = chance.choice(frames)
        content = run(f"{word} ")
        if name == "sdt":
            content = f"<w:sdt><w:sdtContent>{content}</w:sdtContent></w:sdt>"
        elif name != "r":
            content = f"<w:{name}>{content}</w:{name}>"
        if chance.random() < 0.1:
            content = f"<w:r>{text_box(paragraph(content))}</w:r>"
        inside += content
    return inside


def random_block(words: list[str], chance: random.Random) -> str:
    """A paragraph, item, heading or table of these words."""
    kind = chance.choice(["paragraph", "item", "heading", "table", "nested"])
    inside = random_inline(words, chance)
    if kind == "item":
        properties = f'<w:numPr><w:numId w:val="{chance.choice("12")}"/></w:numPr>'
        return paragraph(inside, properties=properties)
    if kind == "heading":
        return paragraph(inside, style="Heading1")
    if kind == "table":
        return table(*[row(*[cell(word) for word in words[:3]])] * 2, row(*map(cell, words[3:])))
    if kind == "nested":
        return table(row(cell(paragraph(inside) + table(row(*map(cell, words)))), cell("x")))
    return paragraph(inside)


@pytest.mark.parametrize("seed", range(40))
def test_no_word_of_a_random_document_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    words = [f"w{number}w" for number in range(60)]
    body = "".join(random_block(words[start : start + 6], chance) for start in range(0, 60, 6))
    text = read(make_docx(body, numbering=NUMBERING)).text
    assert [word for word in words if word not in text] == []


def test_targets_of_links_are_listed_at_the_end_of_their_section() -> None:
    file = Document()
    file.add_heading("Kitchen", 1)
    body = file.add_paragraph("See ")
    key = body.part.relate_to("https://soup.example/how", RELATIONSHIP_TYPE.HYPERLINK, True)
    link = OxmlElement("w:hyperlink")
    link.set(qn("r:id"), key)
    link.append(body.add_run("the recipe")._r)
    body._p.append(link)
    file.add_heading("Bread", 1)
    file.add_paragraph("Bake it.")
    assert read(save(file)).text == (
        "# Kitchen\n\nSee the recipe\n\nLinks:\n\n* the recipe: https://soup.example/how\n\n"
        "# Bread\n\nBake it.\n"
    )
