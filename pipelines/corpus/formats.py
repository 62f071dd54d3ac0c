"""Knows which reader a media type has. Every document becomes Markdown or plain text with sections and pages."""

from collections.abc import Callable
from typing import NamedTuple

from pipelines.corpus import detection, letters, markup, office
from pipelines.corpus.detection import CSV, DOCX, EPUB, HTML, MAIL, MARKDOWN, PDF, PLAIN, PPTX, RST, XLSX
from pipelines.corpus.parts import TOO_DEEP, Converted, Unreadable
from pipelines.corpus.pdf import pdf

TEXT_READERS: dict[str, Callable[[str], Converted]] = {MARKDOWN: markup.markdown, RST: markup.rst, HTML: markup.html, PLAIN: markup.plain}
BYTE_READERS: dict[str, Callable[[bytes], Converted]] = {DOCX: office.docx, PPTX: office.pptx, XLSX: office.xlsx, EPUB: letters.epub, MAIL: letters.mail, CSV: letters.sheet}
ARCHIVES = (DOCX, PPTX, XLSX, EPUB)


class Bounds(NamedTuple):
    """What a document may be at most: pages of a PDF, bytes that an archive unpacks to."""

    max_pages: int
    max_unpacked_bytes: int


def convert(content: bytes, media_type: str, bounds: Bounds) -> Converted:
    """Text with sections and pages. Raises Unreadable with the reason where there is none to be had."""
    if media_type in TEXT_READERS:
        return TEXT_READERS[media_type](decoded(content, media_type))
    if media_type == PDF:
        return pdf(content, bounds.max_pages)
    try:
        if media_type in ARCHIVES:
            office.checked_archive(content, bounds.max_unpacked_bytes)
        return BYTE_READERS[media_type](content)
    except (Unreadable, MemoryError):
        raise
    except RecursionError as error:
        raise Unreadable(TOO_DEEP) from error
    except Exception as error:  # the readers' libraries raise their own and Python's errors on damaged files: each is a rejection, with its text
        raise Unreadable(f"a damaged file: {type(error).__name__}: {str(error)[:200]}") from error


def decoded(content: bytes, media_type: str) -> str:
    """Text of the content; an HTML page may name its own encoding."""
    if media_type == HTML:
        from bs4.dammit import EncodingDetector

        declared = EncodingDetector.find_declared_encoding(content, is_html=True)
        if declared and declared.lower() not in ("utf-8", "utf8"):
            try:
                return content.decode(declared).replace("\r\n", "\n").replace("\r", "\n")
            except (LookupError, UnicodeDecodeError):
                return detection.decode(content)  # the page names an encoding that it is not in
    return detection.decode(content)
