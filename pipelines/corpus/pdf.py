"""Converts PDF files: text in reading order with its pages, headings by font size, tables.

PDFium reads the characters (pdf_pages.py). In 29 public files it finds the words that poppler
finds, in a fiftieth of pdfminer's time, and it knows forms inside of pages, letters drawn twice and
lines from right to left.
"""

import re
from collections import Counter
from collections.abc import Iterator

from pipelines.corpus.parts import ConvertedDocument, Empty, Part, Unreadable, assemble
from pipelines.corpus.pdf_hyphens import count_words, join_hyphens
from pipelines.corpus.pdf_layout import Block, order_blocks
from pipelines.corpus.pdf_lines import Segment
from pipelines.corpus.pdf_pages import Page, read_pages
from pipelines.corpus.pdf_running import find_running

HEADING_RATIO = 1.15  # to the font size of the body text
MAX_HEADING_CHARACTERS = 160
MAX_UNKNOWN_SHARE = 0.1  # of the characters
MAX_PICTURE_SHARE = 0.5  # of the pages
SENTENCE_END = re.compile(r"[.!?:;。！？؟।…][\"'”’»)\]]*$")


def convert_pdf(content: bytes, max_pages: int) -> ConvertedDocument:
    """The text of a PDF. Raises Unreadable if it is encrypted, damaged, too long or only images."""
    title, pages = read_pages(content, max_pages)
    _check_text(pages)
    body_size = _body_size(pages)
    max_size = body_size * HEADING_RATIO
    running = find_running([page.sheet for page in pages], max_size)
    blocks = [_blocks(page, repeated) for page, repeated in zip(pages, running, strict=True)]
    left_out = _left_out(pages, running)
    try:
        document = assemble(_parts(_join_words(blocks), max_size))
    except Empty as error:
        kinds = ", ".join(f"{kind}: {count}" for kind, count in left_out.items())
        raise Unreadable(f"its pages show no text that is kept ({kinds})") from error
    return document._replace(title=document.title or title or None, left_out=left_out)


def _check_text(pages: list[Page]) -> None:
    """Raises Unreadable if the pages are pictures, or their fonts do not name the characters."""
    num_pictures = sum(page.is_picture for page in pages)
    num_characters = sum(page.num_characters for page in pages)
    num_unknown = sum(page.num_unknown for page in pages)
    if num_pictures > MAX_PICTURE_SHARE * len(pages):
        raise Unreadable(
            f"{num_pictures} of its {len(pages)} pages are scanned pictures without text: they "
            "need text recognition first, for example by ocrmypdf"
        )
    if num_characters == 0:
        raise Unreadable(f"its {len(pages)} pages hold neither text nor a scanned picture")
    if num_unknown > MAX_UNKNOWN_SHARE * num_characters:
        raise Unreadable(
            f"{num_unknown} of its {num_characters} characters are unknown, since their fonts have "
            "no Unicode table: export it again, or recognise its text, for example by "
            "`ocrmypdf --force-ocr`"
        )


def _body_size(pages: list[Page]) -> float:
    """The font size of the most characters."""
    num_characters: Counter[float] = Counter()
    for page in pages:
        for segment in page.sheet.segments:
            num_characters[segment.size] += len(segment.text)
    return num_characters.most_common(1)[0][0] if num_characters else 0.0


def _blocks(page: Page, running: set[Segment]) -> list[Block]:
    """Paragraphs and tables in reading order; text at another angle, never a heading, is last."""
    sheet = page.sheet
    body = [segment for segment in sheet.segments if segment not in running]
    turned = [segment for segment in sheet.turned_segments if segment not in running]
    turned_blocks = [block._replace(size=0.0) for block in order_blocks(turned, [])]
    return order_blocks(body, page.tables) + turned_blocks


def _join_words(pages: list[list[Block]]) -> list[list[Block]]:
    """The blocks with the words in one piece that the end of a line or page cuts."""
    words = count_words(block.text for blocks in pages for block in blocks)
    joined_pages: list[list[Block]] = []
    for blocks in pages:
        blocks = list(blocks)
        if blocks and joined_pages and joined_pages[-1] and END_OF_CUT_WORD.search(
            joined_pages[-1][-1].text
        ):
            pass
        joined_pages.append([
            block._replace(text=join_hyphens(block.text, words)) for block in blocks
        ])
    return joined_pages


def _parts(pages: list[list[Block]], max_body_size: float) -> Iterator[Part]:
    """Blocks as parts; a font larger than the body's makes a heading, the largest the highest."""
    sizes = {block.size for blocks in pages for block in blocks if block.size > max_body_size}
    heading_sizes = sorted(sizes, reverse=True)
    last_block = None
    for blocks in pages:
        yield Part("page")
        for number, block in enumerate(blocks):
            if block.size in heading_sizes and _is_short_text(block.text):
                yield Part("heading", block.text, heading_sizes.index(block.size) + 1)
            elif number == 0 and last_block and _is_continued(last_block, block):
                yield Part("continuation", block.text)
            else:
                yield Part("text", block.text)
            last_block = block


def _is_continued(last: Block, first: Block) -> bool:
    """Whether the sentence at the end of a page goes on at the beginning of the next."""
    is_same_font = last.size == first.size > 0
    return is_same_font and first.text[0].islower() and not SENTENCE_END.search(last.text)


def _is_short_text(text: str) -> bool:
    return len(text) <= MAX_HEADING_CHARACTERS and any(map(str.isalpha, text))


def _left_out(pages: list[Page], running: list[set[Segment]]) -> dict[str, int]:
    """Characters by kind. A page that is a picture counts as much as a mean page with text."""
    num_characters = sum(page.num_characters for page in pages)
    num_pictures = sum(page.is_picture for page in pages)
    num_text_pages = max(1, len(pages) - num_pictures)
    counts = {
        "running heads and page numbers": sum(
            len(segment.text) for segments in running for segment in segments
        ),
        "characters outside the page": sum(page.num_outside for page in pages),
        "characters that their font does not name": sum(page.num_unknown for page in pages),
        "pages that are pictures": num_pictures * num_characters // num_text_pages,
    }
    return {kind: count for kind, count in counts.items() if count}
