"""Converts docx files: headings, paragraphs, lists, tables, text boxes and notes.

The text is what Word shows with all changes accepted. Heads and footers of pages, comments and the
table of contents, which repeats the headings, are left out and counted.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from pipelines.corpus import word_styles
from pipelines.corpus.html_links import format_links
from pipelines.corpus.office_links import find_links
from pipelines.corpus.office_tables import Cell, format_cells
from pipelines.corpus.ooxml import Package, attribute, child, count_characters, name_of
from pipelines.corpus.parts import ConvertedDocument, Empty, Part, Unreadable, assemble
from pipelines.corpus.word_styles import Numbering, Style
from pipelines.corpus.word_text import DELETIONS, LEFT_OUT, PROPERTIES, Reading, read_text

FOOTERS = "heads and footers"
COMMENTS = "comments"
CONTENTS = "table of contents"
EMBEDDED_FILES = "embedded documents"
MAX_COLUMNS = 100  # that a cell spans; Word allows 63
CODE_STYLE = re.compile(r"(?i)\b(code|preformatted|listing|verbatim|console)\b")
BULLET_STYLE = re.compile(r"(?i)list (bullet|number)")


class Block(NamedTuple):
    """A paragraph or table. Neighbours of the kinds `item` and `code` belong together."""

    kind: str  # heading | text | item | code | table
    text: str
    level: int = 0


class Document(NamedTuple):
    """What the paragraphs of a document refer to."""

    reading: Reading
    styles: dict[str, Style]
    numbering: Numbering


def convert_docx(content: bytes) -> ConvertedDocument:
    """The text of a docx. Raises Unreadable if it has none."""
    package = Package(content)
    path = package.main_path()
    styles = word_styles.read_styles(package, path)
    numbering = word_styles.read_numbering(package, path, styles)
    document = Document(Reading(package, path), styles, numbering)
    _find_notes(document.reading)
    body = child(package.parse(path), "body")
    if body is None:
        raise Unreadable("a damaged file: the document has no body")
    try:
        result = assemble(_parts(_read_blocks(body, document), document))
    except Empty:
        _refuse_embedded(package, path)
        raise
    _count_surroundings(document.reading)
    left_out = {kind: number for kind, number in document.reading.left_out.items() if number}
    return result._replace(title=package.title() or result.title, left_out=left_out)


def _find_notes(reading: Reading) -> None:
    for kind in ("footnote", "endnote"):
        for path in reading.package.parts_of_kind(reading.path, f"{kind}s"):
            for note in reading.package.parse(path):
                reading.notes[kind, attribute(note, "id") or ""] = note


def _count_surroundings(reading: Reading) -> None:
    """Count what stands around the text and is not read."""
    kinds = {"header": FOOTERS, "footer": FOOTERS, "comments": COMMENTS}
    for kind, name in kinds.items():
        for path in reading.package.parts_of_kind(reading.path, kind):
            reading.left_out[name] += count_characters(reading.package.parse(path))
    for path in reading.package.parts_of_kind(reading.path, "aFChunk"):
        reading.left_out[EMBEDDED_FILES] += len(reading.package.read(path))


def _refuse_embedded(package: Package, path: str) -> None:
    if package.parts_of_kind(path, "aFChunk"):
        raise Unreadable(
            "has its text in an embedded file, which only Word unfolds: open it in Word and save it"
        )


def _parts(blocks: Iterable[Block], document: Document) -> Iterator[Part]:
    """Parts, with items and lines of code joined; notes follow the block that refers to them."""
    for kind, group in groupby(blocks, key=lambda block: block.kind):
        if kind == "item":
            yield Part("text", "\n".join(block.text for block in group))
        elif kind == "code":
            yield Part("text", _format_code([block.text for block in group]))
        else:
            for block in group:
                if block.kind == "heading":
                    yield _take_links(document)
                yield Part("heading" if kind == "heading" else "text", block.text, block.level)
                yield from _take_notes(document)
        yield from _take_notes(document)
    yield _take_links(document)


def _take_links(document: Document) -> Part:
    """The list of the section's links."""
    text = format_links(document.reading.links)
    document.reading.links.clear()
    return Part("text", text)


def _format_code(lines: list[str]) -> str:
    if len(lines) == 1 and "\n" not in lines[0]:
        return lines[0]
    return "\n".join(["```", *lines, "```"])


def _take_notes(document: Document) -> Iterator[Part]:
    """The notes that were referred to; a note may refer to further ones."""
    pending = document.reading.pending_notes
    while pending:
        number, note = pending.pop(0)
        texts = (block.text.strip() for block in _read_blocks(note, document))
        yield Part("text", f"[{number}] {' '.join(texts)}")


def _read_blocks(container: Any, document: Document) -> Iterator[Block]:
    """The blocks of a body, a cell, a box or a note; frames of any kind are read through."""
    for part in container:
        name = name_of(part)
        if name == "p":
            yield from _read_paragraph(part, document)
        elif name == "tbl":
            yield from _read_table(part, document)
        elif name in LEFT_OUT:
            document.reading.left_out[LEFT_OUT[name]] += count_characters(part)
        elif name == "AlternateContent":
            yield from _read_blocks(part[0], document) if len(part) else ()
        elif name not in PROPERTIES:
            yield from _read_blocks(part, document)


def _read_paragraph(paragraph: Any, document: Document) -> Iterator[Block]:
    """A paragraph, then what is anchored in it."""
    reading = document.reading
    properties = child(paragraph, "pPr")
    style_id = attribute(child(properties, "pStyle"), "val")
    names = [style.name for _, style in word_styles.ancestry(document.styles, style_id)]
    if names and re.fullmatch(r"toc \d", names[0].lower()):
        reading.left_out[CONTENTS] += count_characters(paragraph)
        return
    text = read_text(paragraph, reading)
    for target, label in find_links(paragraph, reading.relations):
        reading.links.setdefault(target, label)
    boxes = reading.boxes
    drawings = reading.drawings
    reading.boxes = []
    reading.drawings = []
    if text.strip():
        yield _describe(text, properties, names, document)
    for box in boxes:
        yield from _read_blocks(box, document)
    if drawings:
        yield Block("text", "\n".join(drawings))


def _describe(text: str, properties: Any, names: list[str], document: Document) -> Block:
    """A paragraph by its style and numbering."""
    label, depth = _find_label(properties, document)
    level = word_styles.heading_level(document.styles, properties)
    if level is not None:
        is_numbered = label not in (None, "-")
        return Block("heading", f"{label} {text}" if is_numbered else text, level)
    if any(map(CODE_STYLE.search, names)):
        return Block("code", text)
    if label is None and names and BULLET_STYLE.match(names[0]):
        label = "-"
    if label is None:
        return Block("text", text)
    indented_text = text.strip().replace("\n", f"\n{'  ' * (depth + 1)}")
    return Block("item", f"{'  ' * depth}{label} {indented_text}")


def _find_label(properties: Any, document: Document) -> tuple[str | None, int]:
    """The label of an item and the depth of its list; None if the paragraph is no item."""
    number_id = attribute(child(properties, "numPr", "numId"), "val")
    depth = attribute(child(properties, "numPr", "ilvl"), "val")
    style_id = attribute(child(properties, "pStyle"), "val")
    for key, style in word_styles.ancestry(document.styles, style_id):
        if number_id is not None:
            break
        number_id = style.number_id
        if number_id is not None and depth is None:
            style_depth = document.numbering.depth_of(number_id, key)
            depth = str(style_depth if style.depth is None else style.depth)
    if number_id is None:
        return None, 0
    number = int(depth) if depth and depth.isdecimal() else 0
    return document.numbering.label(number_id, number), number


def _read_table(table: Any, document: Document) -> Iterator[Block]:
    """A table in Markdown.

    A frame of one cell is no table, and its blocks stand for themselves; so do those of a table in
    whose cells tables stand, which a line cannot hold.
    """
    rows = [_read_row(row, document) for row in _members(table, "tr", document)]
    cells = [cell for row in rows for cell in row]
    if len(cells) == 1:
        yield from cells[0].blocks
        return
    num_heads = _count_heads(table, document)
    if any(block.kind == "table" for cell in cells for block in cell.blocks):
        yield from _unfold(rows, num_heads)
    else:
        yield Block("table", format_cells(rows, num_heads))


def _unfold(rows: list[list[Cell]], num_heads: int) -> Iterator[Block]:
    """The blocks of all cells, each cell after its column's name if the table has a head."""
    names = [cell.text() for cell in rows[0]] if num_heads else []
    for row in rows[1:] if names else rows:
        for number, cell in enumerate(row):
            if number < len(names) and cell.blocks:
                yield Block("text", f"{names[number]}:")
            yield from cell.blocks


def _members(element: Any, name: str, document: Document) -> Iterator[Any]:
    """The rows of a table or the cells of a row, also those inside controls and revisions."""
    for part in element:
        part_name = name_of(part)
        if part_name == name:
            if name == "tr" and child(part, "trPr", "del") is not None:
                document.reading.left_out[DELETIONS] += count_characters(part)
            else:
                yield part
        elif part_name not in PROPERTIES and part_name not in LEFT_OUT:
            yield from _members(part, name, document)


def _read_row(row: Any, document: Document) -> list[Cell]:
    return [_read_cell(cell, document) for cell in _members(row, "tc", document)]


def _read_cell(cell: Any, document: Document) -> Cell:
    properties = child(cell, "tcPr")
    span = attribute(child(properties, "gridSpan"), "val") or "1"
    merge = child(properties, "vMerge")
    return Cell(
        blocks=list(_read_blocks(cell, document)),
        num_columns=min(MAX_COLUMNS, int(span)) if span.isdecimal() else 1,
        continues_above=merge is not None and attribute(merge, "val") != "restart",
    )


def _count_heads(table: Any, document: Document) -> int:
    """The rows at the top that Word repeats on each page, since they name the columns."""
    number = 0
    for row in _members(table, "tr", document):
        if child(row, "trPr", "tblHeader") is None:
            break
        number += 1
    return number
