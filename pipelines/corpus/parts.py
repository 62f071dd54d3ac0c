"""Knows what a converted document is: its text, title, sections and pages, assembled from parts that a converter yields."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from pipelines.errors import UserError

TOO_DEEP = "its parts are nested too deeply"


class Unreadable(UserError):
    """A document that cannot become text; the message is the reason of its rejection."""


class Empty(Unreadable):
    """A document, or a part of one, that holds no text."""

    def __init__(self) -> None:
        super().__init__("has no text")


class Part(NamedTuple):
    """One piece of a document in reading order. `level` is a heading's, 1 to 6; a page part starts the next page and has no text."""

    kind: Literal["heading", "text", "page"]
    text: str = ""
    level: int = 0


class Converted(NamedTuple):
    """Markdown or plain text. `sections` as contracts/documents.py has them; `pages`: the character at which each page starts."""

    text: str
    title: str | None
    sections: list[dict[str, Any]]
    pages: list[int]


def assembled(parts: Iterable[Part], title: str | None = None) -> Converted:
    """One text of all parts, an empty line between them. Raises Empty where they hold no text."""
    text, pages = "", []
    sections: list[dict[str, Any]] = []
    for part in parts:
        if part.kind == "page":
            pages.append(len(text))
            continue
        body = part.text.strip("\n").rstrip()
        if not body.strip():
            continue
        if part.kind == "heading":
            heading = " ".join(body.split())
            sections.append({"heading": heading, "level": min(6, max(1, part.level)), "start": len(text)})
            body = f"{'#' * sections[-1]['level']} {heading}"
        text += body + "\n\n"
    text = text.rstrip() + "\n"
    if not text.strip():
        raise Empty
    ends = [*(section["start"] for section in sections), len(text)][1:]
    closed = [{**section, "end": end} for section, end in zip(sections, ends, strict=True)]
    return Converted(text, title or (closed[0]["heading"] if closed else None), closed, [min(page, len(text)) for page in pages])


def table(rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table of cells; its first row is the head. Empty where no cell has text."""
    cells = [[" ".join(str("" if cell is None else cell).split()).replace("|", "\\|") for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if not cells:
        return ""
    width = max(map(len, cells))
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def records(rows: Iterable[list[str]]) -> Iterable[Part]:
    """Rows of a sheet whose first row names the columns, each as a line `column: value; column: value`, so that a passage needs no head."""
    names: list[str] | None = None
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if names is None:
            names = [cell.strip() for cell in row]
            alone = row
            continue
        pairs = [(names[place] if place < len(names) else "", " ".join(cell.split())) for place, cell in enumerate(row)]
        alone = []
        yield Part("text", "- " + "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell))
    if names and alone:
        yield Part("text", "- " + "; ".join(name for name in names if name))
