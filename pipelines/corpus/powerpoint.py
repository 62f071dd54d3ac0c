"""Converts pptx files: one page per slide, its shapes in reading order, then its notes.

Fields such as the slide's number and the date are left out, as are heads and footers.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipelines.corpus.html_links import format_links
from pipelines.corpus.office_links import find_links
from pipelines.corpus.office_tables import Cell, format_cells
from pipelines.corpus.ooxml import (
    Package,
    attribute,
    child,
    count_characters,
    descendants,
    name_of,
    read_drawing,
)
from pipelines.corpus.parts import ConvertedDocument, Part, assemble
from pipelines.corpus.reading_order import Box, sort_boxes
from pipelines.corpus.word_text import PICTURES, Span, format_formula, join_spans

FOOTERS = "heads and footers"
COMMENTS = "comments"
TITLES = ("title", "ctrTitle")
FURNITURE = ("dt", "ftr", "hdr", "sldNum", "sldImg")  # placeholders without content
SHAPES = ("sp", "grpSp", "graphicFrame", "pic", "cxnSp", "contentPart")
MAX_COLUMNS = 100  # that a cell spans


class Text(NamedTuple):
    """A block of a cell."""

    text: str


@dataclass
class Slide:
    """The slide that is read. `frames` are the positions that its layouts give placeholders."""

    package: Package
    path: str
    frames: dict[str, Box] = field(default_factory=dict)
    title: str = ""
    left_out: Counter[str] = field(default_factory=Counter)


def convert_pptx(content: bytes) -> ConvertedDocument:
    """The text of a pptx. Raises Empty if it has none."""
    package = Package(content)
    left_out: Counter[str] = Counter()
    document = assemble(_all_parts(package, left_out))
    losses = {kind: number for kind, number in left_out.items() if number}
    return document._replace(title=package.title() or document.title, left_out=losses)


def _all_parts(package: Package, left_out: Counter[str]) -> Iterator[Part]:
    path = package.main_path()
    relations = package.relations(path)
    for element in descendants(package.parse(path), "sldId"):
        key = next((v for k, v in element.attrib.items() if k.endswith("}id")), "")
        relation = relations.get(key)
        if relation is not None and package.has(relation.target):
            slide = Slide(package, relation.target, left_out=left_out)
            yield from _slide_parts(slide)


def _slide_parts(slide: Slide) -> Iterator[Part]:
    slide.frames = _find_frames(slide.package, slide.path)
    tree = child(slide.package.parse(slide.path), "cSld", "spTree")
    texts = list(_read_tree(tree, slide)) if tree is not None else []
    yield Part("page")
    yield Part("heading", slide.title, 1)
    for text in texts:
        yield Part("text", text)
    yield Part("text", _list_links(tree, slide))
    yield from _read_notes(slide)
    for path in slide.package.parts_of_kind(slide.path, "comments"):
        root = slide.package.parse(path)
        words = (element.text or "" for element in descendants(root, "text", "t"))
        slide.left_out[COMMENTS] += sum(map(len, words))


def _list_links(tree: Any, slide: Slide) -> str:
    if tree is None:
        return ""
    links: dict[str, str] = {}
    for target, label in find_links(tree, slide.package.relations(slide.path)):
        links.setdefault(target, label)
    return format_links(links)


def _read_notes(slide: Slide) -> Iterator[Part]:
    """What the speaker says."""
    for path in slide.package.parts_of_kind(slide.path, "notesSlide"):
        for shape in descendants(slide.package.parse(path), "sp"):
            if _placeholder(shape)[0] not in FURNITURE:
                yield Part("text", _read_body(child(shape, "txBody")))


def _find_frames(package: Package, path: str) -> dict[str, Box]:
    """Positions of placeholders in a slide's layout and master, by index and by type."""
    frames: dict[str, Box] = {}
    for kind in ("slideLayout", "slideMaster"):
        paths = package.parts_of_kind(path, kind)
        if not paths:
            return frames
        path = paths[0]
        for shape in descendants(package.parse(path), "sp"):
            box = _stated_box(shape)
            if box is not None:
                kind_of_shape, index = _placeholder(shape)
                frames.setdefault(f"index {index}", box)
                frames.setdefault(f"type {kind_of_shape}", box)
    return frames


def _placeholder(shape: Any) -> tuple[str, str]:
    """Type and index of a placeholder; empty for another shape."""
    for frame in shape:
        element = child(frame, "nvPr", "ph")
        if element is not None:
            return element.get("type") or "obj", element.get("idx") or "0"
    return "", ""


def _read_tree(tree: Any, slide: Slide) -> Iterator[str]:
    """The texts of the shapes of a slide or group, in reading order."""
    boxes: list[Box | None] = []
    texts: list[list[str]] = []
    for shape in _shapes(tree):
        shape_texts = [text for text in _read_shape(shape, slide) if text.strip()]
        if shape_texts:
            boxes.append(_find_box(shape, slide))
            texts.append(shape_texts)
    for index in sort_boxes(boxes):
        yield from texts[index]


def _shapes(tree: Any) -> Iterator[Any]:
    """The shapes directly in a tree; of alternatives, those of the first."""
    for element in tree:
        if name_of(element) == "AlternateContent" and len(element):
            yield from _shapes(element[0])
        elif name_of(element) in SHAPES:
            yield element


def _read_shape(shape: Any, slide: Slide) -> Iterable[str]:
    name = name_of(shape)
    if name == "grpSp":
        return _read_tree(shape, slide)
    if name == "graphicFrame":
        tables = list(descendants(shape, "tbl"))
        if tables:
            return map(_read_table, tables)
        return ["\n".join(read_drawing(slide.package, slide.path, shape))]
    if name == "pic":
        for properties in descendants(shape, "cNvPr"):
            slide.left_out[PICTURES] += len(properties.get("descr") or "")
    kind, _ = _placeholder(shape)
    if kind in FURNITURE:
        slide.left_out[FOOTERS] += count_characters(shape)
        return []
    text = _read_body(child(shape, "txBody"))
    if kind in TITLES and not slide.title:
        slide.title = text
        return []
    return [text]


def _stated_box(shape: Any) -> Box | None:
    for frame in (
        child(shape, "spPr", "xfrm"),
        child(shape, "grpSpPr", "xfrm"),
        child(shape, "xfrm"),
    ):
        offset = child(frame, "off")
        size = child(frame, "ext")
        if offset is not None and size is not None:
            x_start = _length(offset.get("x"))
            top = _length(offset.get("y"))
            x_end = x_start + _length(size.get("cx"))
            return Box(x_start, top, x_end, top + _length(size.get("cy")))
    return None


def _length(value: str | None) -> float:
    """A length in EMU; the strict variant may state other units."""
    units = {"in": 914400, "cm": 360000, "mm": 36000, "pt": 12700, "pc": 152400, "pi": 152400}
    text = value or "0"
    return float(text[:-2]) * units[text[-2:]] if text[-2:] in units else float(text)


def _find_box(shape: Any, slide: Slide) -> Box | None:
    """The position of a shape; a placeholder may take it from the layout."""
    box = _stated_box(shape)
    if box is not None:
        return box
    kind, index = _placeholder(shape)
    return slide.frames.get(f"index {index}") or slide.frames.get(f"type {kind}")


def _read_table(table: Any) -> str:
    rows = []
    for row in (part for part in table if name_of(part) == "tr"):
        cells = []
        for cell in (part for part in row if name_of(part) == "tc"):
            if cell.get("hMerge") in ("1", "true"):
                continue  # a cell to its left spans here
            span = cell.get("gridSpan") or "1"
            cells.append(
                Cell(
                    blocks=[Text(_read_body(child(cell, "txBody")))],
                    num_columns=min(MAX_COLUMNS, int(span)),
                    continues_above=cell.get("vMerge") in ("1", "true"),
                )
            )
        rows.append(cells)
    return format_cells(rows, num_heads=1)


def _read_body(body: Any) -> str:
    """The paragraphs of a shape, one a line; as a list if some are numbered, marked or indented."""
    if body is None:
        return ""
    paragraphs = [part for part in body if name_of(part) == "p"]
    is_list = any(map(_is_item, paragraphs))
    number = 0
    lines = []
    for paragraph in paragraphs:
        text = join_spans(_read_spans(paragraph)).strip()
        properties = child(paragraph, "pPr")
        is_numbered = child(properties, "buAutoNum") is not None
        number = number + 1 if is_numbered else 0
        if not text:
            continue
        if is_list and child(properties, "buNone") is None:
            depth = int(attribute(properties, "lvl") or 0)
            text = f"{'  ' * depth}{f'{number}.' if is_numbered else '-'} {text}"
        lines.append(text)
    return "\n".join(lines)


def _is_item(paragraph: Any) -> bool:
    properties = child(paragraph, "pPr")
    is_marked = any(child(properties, name) is not None for name in ("buChar", "buAutoNum"))
    return is_marked or (attribute(properties, "lvl") or "0") != "0"


def _read_spans(paragraph: Any) -> Iterator[Span]:
    for part in paragraph:
        name = name_of(part)
        if name == "br":
            yield Span("\n")
        elif name == "r" or (name == "fld" and part.get("type") != "slidenum"):
            yield from _read_run(part)
        elif name == "oMath":
            yield Span(format_formula(part))
        elif name == "AlternateContent":
            yield from _read_spans(part[0]) if len(part) else ()
        elif name not in ("pPr", "endParaRPr", "fld"):
            yield from _read_spans(part)


def _read_run(run: Any) -> Iterator[Span]:
    properties = child(run, "rPr")
    baseline = (attribute(properties, "baseline") or "0").rstrip("%")
    script = ""
    if baseline not in ("0", ""):
        script = "subscript" if baseline.startswith("-") else "superscript"
    is_struck = (attribute(properties, "strike") or "noStrike") != "noStrike"
    text = child(run, "t")
    words = (text.text or "") if text is not None else ""
    yield Span(words.replace("\v", "\n").replace("_x000B_", "\n"), script, is_struck)
