"""Knows how to cut a document into passages: by headings, code fences, tables and sentences, measured in encoder tokens.

Blocks (a paragraph, list, fence or table) stay whole where they fit. A chunk is always one span of the document's text.
"""

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9`\"'(\[])|\n")


class Span(NamedTuple):
    """Characters [start, end) of a document's text."""

    start: int
    end: int


@dataclass(frozen=True)
class Ruler:
    """Counts the encoder's tokens of any span of one text: the text is tokenized once.

    `starts` is where each token begins (one character may give several), `words` where each word does.
    """

    starts: list[int]
    words: list[int]

    @classmethod
    def of(cls, text: str, tokenizer: "Tokenizer") -> "Ruler":
        encoding = tokenizer.encode(text, add_special_tokens=False)
        starts = [start for start, _ in encoding.offsets]
        fresh = [place == 0 or word != encoding.word_ids[place - 1] for place, word in enumerate(encoding.word_ids)]
        return cls(starts, [start for start, is_fresh in zip(starts, fresh, strict=True) if is_fresh])

    def tokens(self, span: Span) -> int:
        """Tokens that begin inside the span."""
        return bisect.bisect_left(self.starts, span.end) - bisect.bisect_left(self.starts, span.start)

    def fits(self, span: Span, sizes: "Sizes") -> bool:
        """Whether the span is small enough for a chunk."""
        return self.tokens(span) <= sizes.max_tokens and span.end - span.start <= sizes.max_characters

    def cut(self, span: Span, sizes: "Sizes") -> Iterator[Span]:
        """The span in pieces that fit, between words; between tokens or characters where one word is longer."""
        start = span.start
        while not self.fits(Span(start, span.end), sizes):
            first = bisect.bisect_left(self.starts, start)
            limit = start + sizes.max_characters
            if first + sizes.max_tokens < len(self.starts):
                limit = min(limit, self.starts[first + sizes.max_tokens])
            word = self.words[bisect.bisect_right(self.words, limit) - 1]
            end = word if word > start and (first >= len(self.starts) or word > self.starts[first]) else max(limit, start + 1)
            yield Span(start, end)
            start = end
        yield Span(start, span.end)


@dataclass(frozen=True)
class Sizes:
    """Encoder tokens: of a chunk at most, of a chunk at least, repeated from the chunk before; characters of a chunk at most."""

    max_tokens: int
    min_tokens: int
    overlap_tokens: int
    max_characters: int


def spans(text: str, sections: list[dict[str, Any]], tokenizer: "Tokenizer", sizes: Sizes) -> list[Span]:
    """The chunks of one text in order. Together they cover every character but white space between them."""
    ruler = Ruler.of(text, tokenizer)
    found: list[Span] = []
    for section in _sections(text, sections):
        pieces = [piece for block in _blocks(text, section) for piece in _fitting(text, block, ruler, sizes)]
        packed = _pack(pieces, ruler, sizes)
        joined = found and packed and ruler.tokens(found[-1]) < sizes.min_tokens and ruler.fits(Span(found[-1].start, packed[0].end), sizes)
        if joined:
            packed[0] = Span(found.pop().start, packed[0].end)
        found.extend(packed)
    return [span for span in (_stripped(text, span) for span in found) if span.start < span.end]


def headings_at(sections: list[dict[str, Any]], span: Span) -> list[str]:
    """Path of headings above a chunk's first character, outermost first; a heading that opens the chunk counts."""
    path: list[dict[str, Any]] = []
    for section in sections:
        if section["start"] > span.start:
            break
        path = [above for above in path if above["level"] < section["level"]] + [section]
    return [str(section["heading"]) for section in path if section["heading"]]


def pages_at(pages: list[int], span: Span) -> list[int]:
    """Numbers of the pages, from 1, that a chunk lies on. `pages` is the character at which each page starts."""
    if not pages:
        return []
    first = max(1, bisect.bisect_right(pages, span.start))
    return list(range(first, max(first, bisect.bisect_left(pages, span.end)) + 1))


def _sections(text: str, sections: list[dict[str, Any]]) -> list[Span]:
    starts = sorted({0, *(section["start"] for section in sections)})
    return [Span(start, end) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _blocks(text: str, section: Span) -> list[Span]:
    """Spans of Markdown's top-level blocks: a heading, paragraph, list, fence or table each; they tile the section."""
    from markdown_it import MarkdownIt

    body = text[section.start : section.end]
    lines = [0, *(match.end() for match in re.finditer("\n", body))]
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    starts = sorted({0, *(lines[token.map[0]] for token in tokens if token.level == 0 and token.map and token.map[0] < len(lines))})
    ends = [*starts[1:], len(body)]
    return [Span(section.start + start, section.start + end) for start, end in zip(starts, ends, strict=True) if start < end]


def _fitting(text: str, block: Span, ruler: Ruler, sizes: Sizes) -> list[Span]:
    """The block whole where it fits, else its sentences or lines, and of these what is too long cut between tokens."""
    if ruler.fits(block, sizes):
        return [block]
    cuts = [block.start + match.end() for match in SENTENCE_END.finditer(text[block.start : block.end])]
    starts = [block.start, *(cut for cut in cuts if cut < block.end)]
    pieces = (Span(start, end) for start, end in zip(starts, [*starts[1:], block.end], strict=True))
    return [part for piece in pieces for part in ([piece] if ruler.fits(piece, sizes) else ruler.cut(piece, sizes))]


def _pack(pieces: list[Span], ruler: Ruler, sizes: Sizes) -> list[Span]:
    """Consecutive pieces joined while they fit; each further chunk begins with the last pieces of the one before, as overlap."""
    packed: list[Span] = []
    held: list[Span] = []
    for piece in pieces:
        if held and not ruler.fits(Span(held[0].start, piece.end), sizes):
            packed.append(Span(held[0].start, held[-1].end))
            held = _overlap(held, piece, ruler, sizes)
        held.append(piece)
    if held:
        packed.append(Span(held[0].start, held[-1].end))
    return packed


def _overlap(held: list[Span], piece: Span, ruler: Ruler, sizes: Sizes) -> list[Span]:
    """The end of `held` that may be repeated before `piece`: whole pieces, or the last words of a piece that is too long."""
    kept: list[Span] = []
    room = min(sizes.overlap_tokens, sizes.max_tokens - ruler.tokens(piece))
    for last in reversed(held):
        if ruler.tokens(Span(last.start, held[-1].end)) > room or piece.end - last.start > sizes.max_characters:
            break
        kept.insert(0, last)
    if kept or room <= 0 or ruler.tokens(held[-1]) <= room:
        return kept
    end = held[-1].end
    before = ruler.starts[bisect.bisect_left(ruler.starts, end) - room - 1]  # the last token for which there is no room
    place = bisect.bisect_right(ruler.words, before)
    return [Span(ruler.words[place], end)] if place < len(ruler.words) and ruler.words[place] < end and piece.end - ruler.words[place] <= sizes.max_characters else []


def _stripped(text: str, span: Span) -> Span:
    inner = text[span.start : span.end]
    start = span.start + len(inner) - len(inner.lstrip())
    return Span(start, max(start, span.start + len(inner.rstrip())))
