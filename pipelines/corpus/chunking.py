"""Cuts a document into passages by headings, code fences, tables and sentences, measured in tokens.

Blocks (a paragraph, list, fence or table) stay whole if they fit. A passage is always one span of
the document's text.
"""

import bisect
import itertools
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

    def text_of(self, text: str) -> str:
        return text[self.start : self.end]


@dataclass(frozen=True)
class Sizes:
    """Limits of a passage in the encoder's tokens and in characters.

    `overlap_tokens` are repeated from the passage before.
    """

    max_tokens: int
    min_tokens: int
    overlap_tokens: int
    max_characters: int


@dataclass(frozen=True)
class Ruler:
    """Counts the encoder's tokens in any span of one text, which is tokenized once.

    `token_starts` is where each token begins (one character may give several), `word_starts` where
    each word does.
    """

    token_starts: list[int]
    word_starts: list[int]

    @classmethod
    def of(cls, text: str, tokenizer: "Tokenizer") -> "Ruler":
        encoding = tokenizer.encode(text, add_special_tokens=False)
        token_starts = [start for start, _ in encoding.offsets]
        word_starts = []
        previous_word = None
        for number, (start, word) in enumerate(zip(token_starts, encoding.word_ids, strict=True)):
            if number == 0 or word != previous_word:
                word_starts.append(start)
            previous_word = word
        return cls(token_starts, word_starts)

    def count_tokens(self, span: Span) -> int:
        """The number of tokens that begin inside the span."""
        first = bisect.bisect_left(self.token_starts, span.start)
        return bisect.bisect_left(self.token_starts, span.end) - first

    def fits(self, span: Span, sizes: Sizes) -> bool:
        """Whether the span is small enough for a passage."""
        if span.end - span.start > sizes.max_characters:
            return False
        return self.count_tokens(span) <= sizes.max_tokens

    def cut(self, span: Span, sizes: Sizes) -> Iterator[Span]:
        """The span in pieces that fit, cut between words; overlong words, between tokens."""
        start = span.start
        while not self.fits(Span(start, span.end), sizes):
            end = self._last_cut(start, sizes)
            yield Span(start, end)
            start = end
        yield Span(start, span.end)

    def _last_cut(self, start: int, sizes: Sizes) -> int:
        """The last character at which a piece that starts at `start` may end."""
        first_token = bisect.bisect_left(self.token_starts, start)
        limit = start + sizes.max_characters
        if first_token + sizes.max_tokens < len(self.token_starts):
            limit = min(limit, self.token_starts[first_token + sizes.max_tokens])
        word = self.word_starts[bisect.bisect_right(self.word_starts, limit) - 1]
        has_token = first_token < len(self.token_starts)
        if word > start and not (has_token and word <= self.token_starts[first_token]):
            return word
        return max(limit, start + 1)


def cut_text(
    text: str, sections: list[dict[str, Any]], tokenizer: "Tokenizer", sizes: Sizes
) -> list[Span]:
    """The passages of a text in order. They cover every character but white space between them."""
    ruler = Ruler.of(text, tokenizer)
    spans: list[Span] = []
    for section in _section_spans(text, sections):
        pieces: list[Span] = []
        for block in _blocks(text, section):
            pieces += _split_block(text, block, ruler, sizes)
        passages = _pack(pieces, ruler, sizes)
        if spans and passages and _should_join(spans[-1], passages[0], ruler, sizes):
            passages[0] = Span(spans.pop().start, passages[0].end)
        spans += passages
    return list(_strip_all(text, spans))


def _should_join(last: Span, following: Span, ruler: Ruler, sizes: Sizes) -> bool:
    """Whether the last passage of a section is too short to stand alone and fits into the next."""
    if ruler.count_tokens(last) >= sizes.min_tokens:
        return False
    return ruler.fits(Span(last.start, following.end), sizes)


def find_headings(sections: list[dict[str, Any]], span: Span) -> list[str]:
    """The path of headings at a passage's first character, outermost first.

    A heading that opens the passage counts.
    """
    path: list[dict[str, Any]] = []
    for section in sections:
        if section["start"] > span.start:
            break
        path = [ancestor for ancestor in path if ancestor["level"] < section["level"]]
        path.append(section)
    return [str(section["heading"]) for section in path if section["heading"]]


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
    return _tile(sorted(starts), len(text))


def _tile(starts: list[int], end: int) -> list[Span]:
    """The spans from each start to the next and from the last one to `end`; empty ones left out."""
    pairs = itertools.pairwise([*starts, end])
    return [Span(start, stop) for start, stop in pairs if start < stop]


def _blocks(text: str, section: Span) -> list[Span]:
    """The spans of Markdown's top-level blocks, which tile the section.

    A block is a heading, paragraph, list, fence or table.
    """
    from markdown_it import MarkdownIt

    body = section.text_of(text)
    line_starts = [0, *(match.end() for match in re.finditer("\n", body))]
    starts = {0}
    for token in MarkdownIt("commonmark").enable("table").parse(body):
        if token.level == 0 and token.map and token.map[0] < len(line_starts):
            starts.add(line_starts[token.map[0]])
    starts_in_text = [section.start + start for start in sorted(starts)]
    return _tile(starts_in_text, section.end)


def _split_block(text: str, block: Span, ruler: Ruler, sizes: Sizes) -> Iterator[Span]:
    """The block whole if it fits, else its sentences or lines, cut if they are too long."""
    if ruler.fits(block, sizes):
        yield block
        return
    starts = [block.start]
    for match in SENTENCE_END.finditer(block.text_of(text)):
        start = block.start + match.end()
        if start < block.end:
            starts.append(start)
    for sentence in _tile(starts, block.end):
        if ruler.fits(sentence, sizes):
            yield sentence
        else:
            yield from ruler.cut(sentence, sizes)


def _pack(pieces: list[Span], ruler: Ruler, sizes: Sizes) -> list[Span]:
    """Consecutive pieces joined while they fit.

    Each further passage begins with the last pieces of the one before, as overlap.
    """
    passages: list[Span] = []
    group: list[Span] = []
    for piece in pieces:
        if group and not ruler.fits(Span(group[0].start, piece.end), sizes):
            passages.append(Span(group[0].start, group[-1].end))
            group = _overlap(group, piece, ruler, sizes)
        group.append(piece)
    if group:
        passages.append(Span(group[0].start, group[-1].end))
    return passages


def _overlap(group: list[Span], piece: Span, ruler: Ruler, sizes: Sizes) -> list[Span]:
    """The end of `group` that is repeated before `piece`.

    Whole pieces, or the last words of a piece that is too long.
    """
    end = group[-1].end
    max_tokens = min(sizes.overlap_tokens, sizes.max_tokens - ruler.count_tokens(piece))
    repeated_pieces: list[Span] = []
    for candidate in reversed(group):
        if ruler.count_tokens(Span(candidate.start, end)) > max_tokens:
            break
        if piece.end - candidate.start > sizes.max_characters:
            break
        repeated_pieces.insert(0, candidate)
    if repeated_pieces or max_tokens <= 0 or ruler.count_tokens(group[-1]) <= max_tokens:
        return repeated_pieces
    start = _start_of_last_words(end, max_tokens, ruler)
    if start is None or piece.end - start > sizes.max_characters:
        return []
    return [Span(start, end)]


def _start_of_last_words(end: int, max_tokens: int, ruler: Ruler) -> int | None:
    """Where the words before `end` begin that have `max_tokens` at most; None if there are none."""
    num_tokens = bisect.bisect_left(ruler.token_starts, end)
    last_token_without_room = ruler.token_starts[num_tokens - max_tokens - 1]
    number = bisect.bisect_right(ruler.word_starts, last_token_without_room)
    if number == len(ruler.word_starts) or ruler.word_starts[number] >= end:
        return None
    return ruler.word_starts[number]


def _strip_all(text: str, spans: list[Span]) -> Iterator[Span]:
    """The spans without white space at their ends; those of white space alone are left out."""
    for span in spans:
        passage = span.text_of(text)
        start = span.end - len(passage.lstrip())
        end = span.start + len(passage.rstrip())
        if start < end:
            yield Span(start, end)
