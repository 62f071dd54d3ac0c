"""The blocks of a Markdown text as spans: paragraphs, lists with their items, fences, tables."""

import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from markdown_it.token import Token

QUOTE_MARK = " >\t"  # before the lines of a table inside a block quote


class Span(NamedTuple):
    """Characters [start, end) of a document's text."""

    start: int
    end: int

    def text_of(self, text: str) -> str:
        return text[self.start : self.end]


class Block(NamedTuple):
    """A span and the blocks inside, which tile it; a paragraph or fence has none."""

    span: Span
    children: list["Block"]


class Table(NamedTuple):
    """The rows of a table below its head, and the line that names its columns."""

    rows: Span
    head: str


class Outline(NamedTuple):
    """The top-level blocks of a part of a text, which tile it, and all its tables in order."""

    blocks: list[Block]
    tables: list[Table]


def outline(text: str, part: Span) -> Outline:
    """The blocks of a part of the text that Markdown can be read of by itself."""
    from markdown_it import MarkdownIt

    body = part.text_of(text)
    line_starts = [part.start]
    line_starts += [part.start + match.end() for match in re.finditer("\n", body)]
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    blocks = _blocks(part, tokens, line_starts)
    return Outline(blocks, list(_tables(text, part, tokens, line_starts)))


def tile(starts: list[int], end: int) -> list[Span]:
    """The spans from each start to the next and from the last one to `end`; empty ones left out."""
    pairs = itertools.pairwise([*starts, end])
    return [Span(start, stop) for start, stop in pairs if start < stop]


def _blocks(span: Span, tokens: list["Token"], line_starts: list[int]) -> list[Block]:
    """The blocks that the tokens of the outermost level begin. They tile the span."""
    tokens_from: dict[int, list[Token]] = {span.start: []}
    inside = tokens_from[span.start]
    for token in tokens:
        start = _start(token, line_starts)
        if token.level == tokens[0].level and start is not None and start < span.end:
            inside = tokens_from.setdefault(max(start, span.start), [])
        elif token.level > tokens[0].level:
            inside.append(token)
    blocks = []
    for part in tile(sorted(tokens_from), span.end):
        children = tokens_from[part.start]
        blocks.append(Block(part, _blocks(part, children, line_starts) if children else []))
    return blocks


def _start(token: "Token", line_starts: list[int]) -> int | None:
    """The character at which a block begins; None for what is no block."""
    if not token.map or token.map[0] >= len(line_starts):
        return None
    return line_starts[token.map[0]]


def _tables(
    text: str, part: Span, tokens: list["Token"], line_starts: list[int]
) -> Iterator[Table]:
    for token in tokens:
        if token.type != "table_open" or not token.map:
            continue
        first_line, end_line = token.map
        starts = [*line_starts, *[part.end] * 3]
        head = text[starts[first_line] : starts[first_line + 1]].strip().lstrip(QUOTE_MARK)
        yield Table(Span(starts[first_line + 2], starts[end_line]), head)
