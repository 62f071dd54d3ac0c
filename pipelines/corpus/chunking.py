"""Cuts a document into passages by headings, code fences, tables and sentences, measured in tokens.

Blocks (a paragraph, list item, fence or row of a table) stay whole if they fit. A passage is always
one span of the document's text.
"""

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.corpus.markdown_blocks import Block, Outline, Span, outline, tile
from pipelines.corpus.token_ruler import Ruler

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SENTENCE_END = re.compile(
    r"(?<=[.!?…؟۔।])[”’»]*\s+(?=[A-Z0-9`\"'(\[]|[^\x00-\x7f])"
    r"|[。！？｡．]+[」』）】》〉”’]*\s*"  # no blank need stand after these
    r"|\n"
)
MAX_HEAD_SHARE = 0.5  # of a passage; the head of a table that is longer is not repeated


@dataclass(frozen=True)
class Sizes:
    """Limits of a passage in the encoder's tokens and in characters.

    `overlap_tokens` are repeated from the passage before.
    """

    max_tokens: int
    min_tokens: int
    overlap_tokens: int
    max_characters: int


class Passage(NamedTuple):
    """A span. `table_head` names the columns if it begins among the rows of a table."""

    span: Span
    table_head: str | None


class TableHead(NamedTuple):
    """The line that names the columns of a table, and the rows below it."""

    text: str
    num_tokens: int
    rows: Span


@dataclass(frozen=True)
class Cutter:
    """What limits the passages of one text: their sizes, the head of a table included."""

    ruler: Ruler
    sizes: Sizes
    heads: list[TableHead]  # in the order of their rows

    def head_at(self, position: int) -> TableHead | None:
        """The head of the table among whose rows a character stands."""
        number = bisect.bisect_right(self.heads, position, key=lambda head: head.rows.start)
        head = self.heads[number - 1] if number else None
        return head if head and position < head.rows.end else None

    def max_tokens(self, start: int) -> int:
        """Of a passage that begins here."""
        head = self.head_at(start)
        return self.sizes.max_tokens - (head.num_tokens if head else 0)

    def fits(self, span: Span) -> bool:
        """Whether the span is small enough for a passage."""
        if span.end - span.start > self.sizes.max_characters:
            return False
        return self.ruler.count_tokens(span) <= self.max_tokens(span.start)

    def cut(self, span: Span) -> Iterator[Span]:
        """The span in pieces that fit, cut between words; overlong words, between tokens."""
        start = span.start
        while not self.fits(Span(start, span.end)):
            max_tokens = self.max_tokens(start)
            end = self.ruler.last_cut(start, max_tokens, self.sizes.max_characters)
            yield Span(start, end)
            start = end
        yield Span(start, span.end)


def cut_text(
    text: str, sections: list[dict[str, Any]], tokenizer: "Tokenizer", sizes: Sizes
) -> list[Passage]:
    """The passages of a text in order. They cover every character but white space between them."""
    outlines = [outline(text, section) for section in _section_spans(text, sections)]
    ruler = Ruler.of(text, tokenizer)
    cutter = Cutter(ruler, sizes, _table_heads(outlines, tokenizer, sizes))
    spans: list[Span] = []
    for section in outlines:
        pieces: list[Span] = []
        for block in section.blocks:
            pieces += _split_block(text, block, cutter)
        section_spans = _pack(pieces, cutter)
        if spans and section_spans and _should_join(spans[-1], section_spans[0], cutter):
            section_spans[0] = Span(spans.pop().start, section_spans[0].end)
        spans += section_spans
    passages = []
    for span in _strip_all(text, spans):
        head = cutter.head_at(span.start)
        passages.append(Passage(span, head.text if head else None))
    return passages


def _table_heads(outlines: list[Outline], tokenizer: "Tokenizer", sizes: Sizes) -> list[TableHead]:
    """The heads that leave enough room for rows."""
    heads = []
    for section in outlines:
        for table in section.tables:
            encoding = tokenizer.encode(table.head, add_special_tokens=False)
            is_short = len(table.head) <= MAX_HEAD_SHARE * sizes.max_characters
            if is_short and len(encoding.ids) <= MAX_HEAD_SHARE * sizes.max_tokens:
                heads.append(TableHead(table.head, len(encoding.ids), table.rows))
    return heads


def _should_join(last: Span, following: Span, cutter: Cutter) -> bool:
    """Whether the last passage of a section is too short to stand alone and fits into the next."""
    if cutter.ruler.count_tokens(last) >= cutter.sizes.min_tokens:
        return False
    return cutter.fits(Span(last.start, following.end))


class HeadingPaths:
    """The headings above any character of a document; found in the logarithm of their number."""

    def __init__(self, sections: list[dict[str, Any]]):
        self._starts = [section["start"] for section in sections]
        self._paths: list[list[str]] = []
        ancestors: list[dict[str, Any]] = []
        for section in sections:
            ancestors = [above for above in ancestors if above["level"] < section["level"]]
            ancestors.append(section)
            names = (str(above["heading"]) for above in ancestors)
            self._paths.append(list(filter(None, names)))

    def find(self, span: Span) -> list[str]:
        """The path of headings at a passage's first character, outermost first.

        A heading that opens the passage counts.
        """
        number = bisect.bisect_right(self._starts, span.start)
        return self._paths[number - 1] if number else []


def find_pages(pages: list[int], span: Span) -> list[int]:
    """The numbers of the pages, from 1, that a passage lies on.

    `pages` is the character at which each page starts.
    """
    if not pages:
        return []
    first = max(1, bisect.bisect_right(pages, span.start))
    last = max(first, bisect.bisect_left(pages, span.end))
    return list(range(first, last + 1))


def _section_spans(text: str, sections: list[dict[str, Any]]) -> list[Span]:
    starts = {0}
    for section in sections:
        starts.add(section["start"])
    return tile(sorted(starts), len(text))


def _split_block(text: str, block: Block, cutter: Cutter) -> Iterator[Span]:
    """The block whole if it fits, else the blocks inside, or its sentences or lines."""
    if cutter.fits(block.span):
        yield block.span
    elif block.children:
        for child in block.children:
            yield from _split_block(text, child, cutter)
    else:
        for sentence in tile(_sentence_starts(text, block.span), block.span.end):
            yield from cutter.cut(sentence)


def _sentence_starts(text: str, span: Span) -> list[int]:
    """Where the sentences and lines of a span begin."""
    starts = [span.start]
    for match in SENTENCE_END.finditer(text, span.start, span.end):
        start = match.end()
        if start < span.end and (match[0].endswith("\n") or not text[start].islower()):
            starts.append(start)
    return starts


def _pack(pieces: list[Span], cutter: Cutter) -> list[Span]:
    """Consecutive pieces joined while they fit.

    Each further passage begins with the last pieces of the one before, as overlap.
    """
    passages: list[Span] = []
    group: list[Span] = []
    for piece in pieces:
        if group and not cutter.fits(Span(group[0].start, piece.end)):
            passages.append(Span(group[0].start, group[-1].end))
            group = _overlap(group, piece, cutter)
        group.append(piece)
    if group:
        passages.append(Span(group[0].start, group[-1].end))
    return passages


def _overlap(group: list[Span], piece: Span, cutter: Cutter) -> list[Span]:
    """The end of `group` that is repeated before `piece`.

    Whole pieces, or the last words of a piece that is too long.
    """
    ruler = cutter.ruler
    end = group[-1].end
    max_tokens = cutter.sizes.overlap_tokens
    repeated_pieces: list[Span] = []
    for candidate in reversed(group):
        num_tokens = ruler.count_tokens(Span(candidate.start, end))
        if num_tokens > max_tokens or not cutter.fits(Span(candidate.start, piece.end)):
            break
        repeated_pieces.insert(0, candidate)
    if repeated_pieces or cutter.head_at(piece.start):
        return repeated_pieces
    room = cutter.sizes.max_tokens - ruler.count_tokens(piece)
    max_tokens = min(max_tokens, room)
    if max_tokens <= 0 or ruler.count_tokens(group[-1]) <= max_tokens:
        return []
    start = ruler.start_of_last_words(end, max_tokens)
    if start is None or not cutter.fits(Span(start, piece.end)):
        return []
    return [Span(start, end)]


def _strip_all(text: str, spans: list[Span]) -> Iterator[Span]:
    """The spans without white space at their ends; those of white space alone are left out."""
    for span in spans:
        passage = span.text_of(text)
        start = span.end - len(passage.lstrip())
        end = span.start + len(passage.rstrip())
        if start < end:
            yield Span(start, end)
