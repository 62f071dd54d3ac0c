"""The parts of a document that a converter yields, and the text that they are assembled into."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from pipelines.errors import UserError

TOO_DEEP = "its parts are nested too deeply"


class Unreadable(UserError):
    """A document that cannot become text; the message is the reason for its rejection."""


class Empty(Unreadable):
    """A document, or a part of one, that contains no text."""

    def __init__(self) -> None:
        super().__init__("has no text")


class Part(NamedTuple):
    """One piece of a document in reading order.

    `level` is that of a heading, 1 to 6. A part of the kind `page` starts the next page and has no
    text. A `continuation` goes on with the paragraph of the text before it, on a new line.
    """

    kind: Literal["heading", "text", "continuation", "page"]
    text: str = ""
    level: int = 0


class ConvertedDocument(NamedTuple):
    """Markdown or plain text with its sections and pages.

    `sections` are as in contracts/documents.py; `pages` is the character at which each page starts.
    `left_out` counts the characters of the source that are not in `text`, by kind ("navigation").
    `readers` are the groups that it names as its only readers, or `everyone`; None: it names none.
    """

    text: str
    title: str | None
    sections: list[dict[str, Any]]
    pages: list[int]
    left_out: dict[str, int] = {}
    readers: list[str] | None = None


def assemble(parts: Iterable[Part], title: str | None = None) -> ConvertedDocument:
    """Join all parts with an empty line between them. Raises Empty if they contain no text."""
    text = ""
    pages: list[int] = []
    headings: list[dict[str, Any]] = []
    for part in parts:
        body = part.text.strip("\n").rstrip()
        if part.kind == "page":
            pages.append(len(text))
        elif part.kind == "heading" and body.strip():
            heading = " ".join(body.split())
            level = min(6, max(1, part.level))
            headings.append({"heading": heading, "level": level, "start": len(text)})
            text += f"{'#' * level} {heading}\n\n"
        elif body.strip():
            if part.kind == "continuation":
                text = text.rstrip() + "\n"
                pages = [min(page, len(text)) for page in pages]
            text += body + "\n\n"
    text = text.rstrip() + "\n"
    if not text.strip():
        raise Empty
    sections = close_sections(headings, len(text))
    first_heading = sections[0]["heading"] if sections else None
    starts = [min(page, len(text)) for page in pages]
    return ConvertedDocument(text, title or first_heading, sections, starts)


def close_sections(headings: list[dict[str, Any]], num_characters: int) -> list[dict[str, Any]]:
    """Give each section its end: where the next one starts, or where the text ends."""
    sections = []
    for heading, following in itertools.zip_longest(headings, headings[1:]):
        end = following["start"] if following else num_characters
        sections.append(heading | {"end": end})
    return sections


def format_table(rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table whose first row is the head; the empty string if no cell has text."""
    formatted_rows = (list(map(_format_cell, row)) for row in rows)
    filled_rows = list(filter(any, formatted_rows))
    if not filled_rows:
        return ""
    width = max(map(len, filled_rows))
    lines = []
    for row in filled_rows:
        padding = [""] * (width - len(row))
        lines.append("| " + " | ".join(row + padding) + " |")
    rule = "|" + " --- |" * width
    return "\n".join([lines[0], rule, *lines[1:]])


def _format_cell(cell: Any) -> str:
    words = str("" if cell is None else cell).split()
    return " ".join(words).replace("|", "\\|")


def format_records(rows: Iterable[list[str]]) -> Iterator[str]:
    """A line `- column: value; column: value` per row of a sheet whose first row names the columns.

    A passage of such lines can be understood without the sheet's head. A head without rows is a
    line of its own.
    """
    filled_rows = filter(_has_text, rows)
    head = next(filled_rows, None)
    if head is None:
        return
    names = list(map(str.strip, head))
    num_records = 0
    for row in filled_rows:
        num_records += 1
        yield "- " + "; ".join(_format_pairs(names, row))
    if num_records == 0:
        yield "- " + "; ".join(filter(None, names))


def _has_text(row: list[str]) -> bool:
    return any(map(str.strip, row))


def _format_pairs(names: list[str], row: list[str]) -> Iterator[str]:
    """`column: value` for each cell with text; the value alone if its column has no name."""
    for number, cell in enumerate(row):
        name = names[number] if number < len(names) else ""
        value = " ".join(cell.split())
        if value:
            yield f"{name}: {value}" if name else value
