"""Converts PDF files: text in reading order with its pages, headings by font size, tables.

PDFium reads the characters (pdf_pages.py). In 29 public files it finds the words that poppler
finds, in a fiftieth of pdfminer's time, and it knows forms inside of pages, letters drawn twice and
lines from right to left. Tesseract reads scanned pages, if it is installed (recognition.py).
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator

from pipelines.corpus.parts import ConvertedDocument, Empty, Part, Unreadable, assemble
from pipelines.corpus.pdf_hyphens import CUT_WORD, count_words, join_hyphens
from pipelines.corpus.pdf_layout import Block, order_blocks
from pipelines.corpus.pdf_lines import Segment
from pipelines.corpus.pdf_pages import Page, read_pages
from pipelines.corpus.pdf_running import Sheet, find_running
from pipelines.corpus.recognition import Recogniser

HEADING_RATIO = 1.15  # to the font size of the body text
MAX_HEADING_CHARACTERS = 160
MAX_UNKNOWN_SHARE = 0.1  # of the characters
MAX_PICTURE_SHARE = 0.5  # of the pages
NO_RECOGNISER = Recogniser()
MIN_CUT_WORDS = 3  # in a line whose sentence goes on in the next column or page; fewer are a label
SENTENCE_END = re.compile(r"[.!?:;。！？؟।…][\"'”’»)\]]*$")


def convert_pdf(
    content: bytes, max_pages: int, recogniser: Recogniser = NO_RECOGNISER
) -> ConvertedDocument:
    """The text of a PDF. Raises Unreadable if it is encrypted, damaged, too long or only images."""
    title, pages = read_pages(content, max_pages, recogniser)
    _check_text(pages, recogniser)
    sheets = [page.sheet for page in pages]
    running = find_running(sheets, _body_size(sheets, set()) * HEADING_RATIO)
    max_body_size = _body_size(sheets, set().union(*running)) * HEADING_RATIO
    blocks = list(map(_blocks, pages, running))
    _join_words(blocks)
    left_out = _left_out(pages, running)
    try:
        document = assemble(_parts(blocks, max_body_size))
    except Empty as error:
        kinds = ", ".join(f"{kind}: {count}" for kind, count in left_out.items())
        raise Unreadable(f"its pages show no text that is kept ({kinds})") from error
    return document._replace(title=document.title or title or None, left_out=left_out)


def _check_text(pages: list[Page], recogniser: Recogniser) -> None:
    """Raises Unreadable if the pages are pictures, or their fonts do not name the characters."""
    num_pictures = sum(page.is_picture for page in pages)
    num_characters = sum(page.num_characters for page in pages)
    num_unknown = sum(page.num_unknown for page in pages)
    if num_pictures > MAX_PICTURE_SHARE * len(pages):
        raise Unreadable(
            f"{num_pictures} of its {len(pages)} pages are scanned pictures without text: "
            f"{recogniser.problem or 'Tesseract recognises none on them'}"
        )
    if num_characters == 0 and not any(page.recognised for page in pages):
        raise Unreadable(f"its {len(pages)} pages hold neither text nor a scanned picture")
    if num_unknown > MAX_UNKNOWN_SHARE * num_characters:
        raise Unreadable(
            f"{num_unknown} of its {num_characters} characters are unknown, since their fonts have "
            "no Unicode table: export it again, or recognise its text, for example by "
            "`ocrmypdf --force-ocr`"
        )


def _body_size(sheets: list[Sheet], running: set[Segment]) -> float:
    """The font size of the most characters."""
    num_characters: Counter[float] = Counter()
    for segment in itertools.chain.from_iterable(sheet.segments for sheet in sheets):
        if segment not in running:
            num_characters[segment.size] += len(segment.text)
    return num_characters.most_common(1)[0][0] if num_characters else 0.0


def _blocks(page: Page, running: set[Segment]) -> list[Block]:
    """Paragraphs and tables in reading order; text at another angle, never a heading, is last."""
    if page.recognised:
        # The size 0 is that of no heading, and of no paragraph that goes on.
        return [Block(paragraph, 0.0, page.sheet.frame) for paragraph in page.recognised]
    body = _without(page.sheet.segments, running)
    blocks = order_blocks(body, page.tables)
    for group in page.sheet.turned_groups:
        for block in order_blocks(_without(group, running), []):
            blocks.append(block._replace(size=0.0))
    return blocks


def _without(segments: list[Segment], running: set[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment not in running]


def _join_words(pages: list[list[Block]]) -> None:
    """Write the words in one piece that the end of a line, column or page cuts."""
    positions: list[tuple[list[Block], int]] = []
    for blocks in pages:
        positions += [(blocks, index) for index in range(len(blocks))]
    for (last_blocks, last_index), (blocks, index) in itertools.pairwise(positions):
        last = last_blocks[last_index]
        block = blocks[index]
        if CUT_WORD.search(last.text) and _is_continued(last, block):
            tail, *rest = block.text.split(maxsplit=1)
            last_blocks[last_index] = last._replace(text=f"{last.text}\n{tail}")
            blocks[index] = block._replace(text="".join(rest))
    words = count_words(blocks[index].text for blocks, index in positions)
    for blocks, index in positions:
        text = join_hyphens(blocks[index].text, words)
        blocks[index] = blocks[index]._replace(text=text)


def _parts(pages: list[list[Block]], max_body_size: float) -> Iterator[Part]:
    """Blocks as parts; a font larger than the body's makes a heading, the largest the highest."""
    sizes = {block.size for blocks in pages for block in blocks if block.size > max_body_size}
    heading_sizes = sorted(sizes, reverse=True)
    last = None
    for blocks in pages:
        yield Part("page")
        for block in blocks:
            if block.size in heading_sizes and _is_short_text(block.text):
                yield Part("heading", block.text, heading_sizes.index(block.size) + 1)
            elif last and _is_continued(last, block):
                yield Part("continuation", block.text)
            else:
                yield Part("text", block.text)
            last = block


def _is_continued(last: Block, block: Block) -> bool:
    """Whether the sentence at the end of a column or page goes on at the top of the next."""
    is_same_font = last.size == block.size > 0
    last_line = last.text.rpartition("\n")[2]
    is_long = len(last_line.split()) >= MIN_CUT_WORDS or bool(CUT_WORD.search(last_line))
    is_full = is_long and not SENTENCE_END.search(last_line)
    is_cut = is_full and block.text[:1].islower()
    return is_same_font and is_cut and block.box.top < last.box.bottom


def _is_short_text(text: str) -> bool:
    return len(text) <= MAX_HEADING_CHARACTERS and any(map(str.isalpha, text))


def _left_out(pages: list[Page], running: list[set[Segment]]) -> dict[str, int]:
    """Characters by kind. A page that is a picture counts as much as a mean page with text."""
    num_characters = sum(page.num_characters for page in pages)
    num_pictures = sum(page.is_picture for page in pages)
    num_text_pages = max(1, len(pages) - num_pictures)
    counts: Counter[str] = Counter()
    for segment in itertools.chain.from_iterable(running):
        counts["running heads and page numbers"] += len(segment.text)
    for page in pages:
        counts["characters outside the page"] += page.num_outside
        counts["characters that their font does not name"] += page.num_unknown
    counts["pages that are pictures"] = num_pictures * num_characters // num_text_pages
    return dict(+counts)  # without zeros
