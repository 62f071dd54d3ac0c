"""Converts a document of any known media type to Markdown or plain text with sections and pages."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pipelines.corpus import (
    data_files,
    delimited,
    detection,
    epub,
    excel,
    html,
    mail,
    markdown,
    mdx,
    notebooks,
    ooxml,
    outlook,
    pdf,
    powerpoint,
    rst,
    word,
    xml,
)
from pipelines.corpus.front_matter import demand_no_readers
from pipelines.corpus.parts import TOO_DEEP, ConvertedDocument, Unreadable
from pipelines.corpus.recognition import Recogniser

TEXT_READERS: dict[str, Callable[[str], ConvertedDocument]] = {
    detection.MARKDOWN: markdown.convert_markdown,
    detection.RST: rst.convert_rst,
    detection.HTML: html.convert_html,
    detection.PLAIN: markdown.convert_plain_text,
    detection.MDX: mdx.convert_mdx,
    detection.NOTEBOOK: notebooks.convert_notebook,
    detection.JSON: data_files.convert_json,
    detection.JSON_LINES: data_files.convert_json_lines,
    detection.YAML: data_files.convert_yaml,
    detection.XML: xml.convert_xml,
}
BYTE_READERS: dict[str, Callable[[bytes], ConvertedDocument]] = {
    detection.DOCX: word.convert_docx,
    detection.PPTX: powerpoint.convert_pptx,
    detection.XLSX: excel.convert_xlsx,
    detection.EPUB: epub.convert_epub,
    detection.CSV: delimited.convert_csv,
}
MAIL_READERS: dict[str, Callable[[bytes, mail.ReadFile], ConvertedDocument]] = {
    detection.MAIL: mail.convert_mail,
    detection.MSG: outlook.convert_msg,
}
ARCHIVES = (detection.DOCX, detection.PPTX, detection.XLSX, detection.EPUB)
UTF8_NAMES = ("utf-8", "utf8")


class Bounds(NamedTuple):
    """How large a document may be: pages of a PDF, bytes that an archive unpacks to.

    `recogniser` reads scanned pages.
    """

    max_pages: int
    max_unpacked_bytes: int
    recogniser: Recogniser = Recogniser()


def convert(content: bytes, media_type: str, bounds: Bounds) -> ConvertedDocument:
    """Text with sections and pages. Raises Unreadable with the reason if there is none."""
    if media_type in TEXT_READERS:
        text = _decode(content, is_html=media_type == detection.HTML)
        try:
            return TEXT_READERS[media_type](text)
        except RecursionError as error:
            raise Unreadable(TOO_DEEP) from error
    if media_type == detection.PDF:
        return pdf.convert_pdf(content, bounds.max_pages, bounds.recogniser)
    try:
        if media_type in ARCHIVES:
            ooxml.check_archive(content, bounds.max_unpacked_bytes)
        if media_type in MAIL_READERS:
            read_file = partial(_read_attachment, bounds=bounds)
            return MAIL_READERS[media_type](content, read_file)
        return BYTE_READERS[media_type](content)
    except (Unreadable, MemoryError):
        raise
    except RecursionError as error:
        raise Unreadable(TOO_DEEP) from error
    except Exception as error:
        # The readers' libraries raise their own and Python's errors on damaged files. Each is a
        # rejection with its text.
        raise Unreadable(f"a damaged file: {type(error).__name__}: {str(error)[:200]}") from error


def _read_attachment(content: bytes, name: str, bounds: Bounds) -> ConvertedDocument:
    """The text of a file in a mail. Raises Unreadable, also if it names readers of its own."""
    media_type = detection.detect_media_type(content, name)
    document = convert(content, media_type, bounds)
    if document.readers is not None:
        raise Unreadable(
            "it names its readers, and whoever may read a mail reads what is attached: name the "
            "readers at the mail's source"
        )
    demand_no_readers(content, document.text, media_type)
    return document


def _decode(content: bytes, is_html: bool) -> str:
    """Text of the content; an HTML page may declare its own encoding."""
    encoding = _declared_encoding(content) if is_html else None
    if encoding is None:
        return detection.decode(content)
    try:
        text = content.decode(encoding)
    except (LookupError, UnicodeDecodeError):  # the page declares an encoding that it is not in
        return detection.decode(content)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _declared_encoding(content: bytes) -> str | None:
    """The encoding that an HTML page declares; None if it is UTF-8."""
    from bs4.dammit import EncodingDetector

    encoding: str | None = EncodingDetector.find_declared_encoding(content, is_html=True)
    if not encoding or encoding.lower() in UTF8_NAMES:
        return None
    return encoding
