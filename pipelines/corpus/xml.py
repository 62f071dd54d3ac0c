"""Reads XML: DocBook, DITA and any vocabulary whose elements hold text."""

from collections.abc import Iterator
from textwrap import indent
from typing import Any

from pipelines.corpus.parts import (
    ConvertedDocument,
    Part,
    Unreadable,
    assemble,
    format_table,
)

TITLES = {"title", "bridgehead", "heading", "head", "h"}
LISTINGS = {
    "programlisting", "screen", "codeblock", "literallayout", "synopsis", "code-block", "pre",
    "listing", "sourcecode", "artwork", "msgblock",
}  # fmt: skip
# Elements within a line of text; any other that stands between words is taken for one too.
BLOCKS = {
    "para", "p", "simpara", "formalpara", "t", "li", "listitem", "item", "entry", "td", "term",
    "shortdesc", "note", "warning", "caution", "tip", "important", "member", "step", "cmd",
}  # fmt: skip
ITEMS = {"li", "listitem", "item", "member", "step"}
TABLES = {"tgroup", "simpletable", "properties", "table", "informaltable", "choicetable"}
ROWS = {"row", "tr", "strow", "sthead", "property", "prophead", "chrow", "chhead"}
CAPTIONED = {"table", "figure", "example", "fig", "informalexample", "equation"}


def convert_xml(text: str) -> ConvertedDocument:
    """Titles as headings, listings as fences, text in paragraphs, data as `element: value`."""
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    try:
        root = ElementTree.fromstring(text.encode())
    except DefusedXmlException as error:
        raise Unreadable(
            f"XML that defines entities ({type(error).__name__}): save it with them filled in"
        ) from error
    except (ElementTree.ParseError, ValueError) as error:
        raise Unreadable(f"not XML: {error}") from error
    if _name(root) == "svg":
        raise Unreadable("a picture (SVG)")
    return assemble(_parts(root, 0))


def _name(element: Any) -> str:
    """An element's name without its namespace; that of a comment is empty."""
    return str(element.tag).rpartition("}")[2] if isinstance(element.tag, str) else ""


def _parts(element: Any, level: int) -> Iterator[Part]:
    """`level` is that of the titles of the sections around the element."""
    name = _name(element)
    if name in TITLES:
        yield Part("heading", _words(element), max(1, level))
    elif name in TABLES and (rows := list(_rows(element))):
        yield from _table(element, rows, level)
    elif name in ITEMS and not _is_paragraph(element) and len(element):
        yield _item(element, level)
    elif name in LISTINGS:
        code = "".join(element.itertext()).strip("\n")
        yield Part("text", f"````\n{code}\n````" if code.strip() else "")
    elif _is_data(element):
        yield Part("text", f"- {name}: {_words(element)}" if _words(element) else "")
    elif _is_paragraph(element):
        yield from _paragraph(element)
    else:
        yield from _inner_parts(element, level)


def _inner_parts(element: Any, level: int) -> Iterator[Part]:
    """The parts of a section, with the words that stand between them.

    The title of a table or figure is a caption, and no heading of what follows.
    """
    is_captioned = _name(element) in CAPTIONED
    if not is_captioned and any(_name(inner) in TITLES for inner in element):
        level += 1
    yield Part("text", _join_words(element.text))
    for inner in element:
        if is_captioned and _name(inner) in TITLES:
            yield Part("text", _words(inner))
        else:
            yield from _parts(inner, level)
        yield Part("text", _join_words(inner.tail))


def _rows(element: Any) -> Iterator[Any]:
    """The rows of a table, those of tables inside it left out; none of one that holds a CALS group.

    Its group is a table of its own then, below the title.
    """
    if any(_name(inner) == "tgroup" for inner in element):
        return
    for inner in element:
        if _name(inner) in ROWS:
            yield inner
        elif _name(inner) not in TABLES:
            yield from _rows(inner)


def _table(element: Any, rows: list[Any], level: int) -> Iterator[Part]:
    """A table whose first row names the columns, after its title."""
    for inner in element:
        if _name(inner) in TITLES | {"caption"}:
            yield Part("text", _words(inner))
    yield Part("text", format_table(_cell_texts(row, level) for row in rows))


def _cell_texts(row: Any, level: int) -> list[str]:
    return [" ".join(_texts(cell, level)) for cell in row]


def _texts(element: Any, level: int) -> list[str]:
    parts = [*_paragraph(element)] if _is_paragraph(element) else [*_inner_parts(element, level)]
    return [part.text for part in parts if part.text.strip()]


def _item(element: Any, level: int) -> Part:
    """An item of several paragraphs, those after the first indented below it."""
    text = "\n\n".join(_texts(element, level))
    return Part("text", "- " + indent(text, "  ")[2:] if text else "")


def _join_words(text: str | None) -> str:
    return " ".join((text or "").split())


def _words(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def _is_data(element: Any) -> bool:
    """Whether an element holds a value and nothing else."""
    return len(element) == 0 and _name(element) not in BLOCKS


def _is_paragraph(element: Any) -> bool:
    """Whether an element is a line of text with elements between its words."""
    names = {_name(inner) for child in element for inner in child.iter()}
    if names & (BLOCKS | LISTINGS | TITLES):
        return False
    has_words = bool((element.text or "").strip())
    has_words = has_words or any((inner.tail or "").strip() for inner in element)
    return has_words or _name(element) in BLOCKS


def _paragraph(element: Any) -> Iterator[Part]:
    bullet = "- " if _name(element) in ITEMS else ""
    words = _words(element)
    yield Part("text", f"{bullet}{words}" if words else "")
