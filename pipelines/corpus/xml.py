"""Reads XML: DocBook, DITA and any vocabulary whose elements hold text."""

from collections.abc import Iterator
from typing import Any

from pipelines.corpus.parts import TOO_DEEP, ConvertedDocument, Part, Unreadable, assemble

MAX_DEPTH = 200
TITLES = {"title", "bridgehead", "heading", "head", "h"}
LISTINGS = {
    "programlisting", "screen", "codeblock", "literallayout", "synopsis", "code-block", "pre",
    "listing", "sourcecode", "artwork", "msgblock",
}  # fmt: skip
# Elements within a line of text; any other that stands between words is taken for one too.
BLOCKS = {
    "para", "p", "simpara", "formalpara", "t", "li", "listitem", "item", "entry", "td", "term",
    "shortdesc", "note", "warning", "caution", "tip", "important", "row", "member", "step", "cmd",
}  # fmt: skip


def convert_xml(text: str) -> ConvertedDocument:
    """Titles as headings, listings as fences, text in paragraphs, data as `element: value`."""
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    try:
        root = ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, ValueError) as error:
        raise Unreadable(f"not XML: {error}") from error
    except DefusedXmlException as error:
        raise Unreadable(
            f"XML that defines entities ({type(error).__name__}): save it with them filled in"
        ) from error
    if _name(root) == "svg":
        raise Unreadable("a picture (SVG)")
    return assemble(_parts(root, 0))


def _name(element: Any) -> str:
    """An element's name without its namespace; that of a comment is empty."""
    return str(element.tag).rpartition("}")[2] if isinstance(element.tag, str) else ""


def _parts(element: Any, level: int) -> Iterator[Part]:
    if level > MAX_DEPTH:
        raise Unreadable(TOO_DEEP)
    name = _name(element)
    if name in TITLES and _words(element):
        yield Part("heading", _words(element), max(1, level))
    elif name in LISTINGS:
        code = "".join(element.itertext()).strip("\n")
        yield Part("text", f"````\n{code}\n````")
    elif _is_data(element):
        yield Part("text", f"- {name}: {_words(element)}" if _words(element) else "")
    elif _is_paragraph(element):
        yield from _paragraph(element)
    else:
        # The words of an element whose inner ones are blocks, such as those before a list.
        yield Part("text", " ".join((element.text or "").split()))
        for inner in element:
            deeper = 1 if any(_name(child) in TITLES for child in inner) else 0
            is_title = _name(inner) in TITLES
            yield from _parts(inner, level + deeper if not is_title else max(1, level))
            yield Part("text", " ".join((inner.tail or "").split()))


def _words(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def _is_data(element: Any) -> bool:
    """Whether an element holds a value and nothing else."""
    return len(element) == 0 and _name(element) not in BLOCKS


def _is_paragraph(element: Any) -> bool:
    """Whether an element is a line of text with elements between its words."""
    has_blocks = any(_name(inner) in BLOCKS | LISTINGS | TITLES for inner in element.iter())
    inner_blocks = has_blocks and any(
        _name(inner) in BLOCKS | LISTINGS | TITLES for inner in element.iter() if inner is not element
    )
    if inner_blocks:
        return False
    has_words = bool((element.text or "").strip())
    has_words = has_words or any((inner.tail or "").strip() for inner in element)
    return has_words or _name(element) in BLOCKS


def _paragraph(element: Any) -> Iterator[Part]:
    bullet = "- " if _name(element) in ("li", "listitem", "item", "member", "step") else ""
    words = _words(element)
    yield Part("text", f"{bullet}{words}" if words else "")
