"""Knows e-mail, EPUB and CSV: what is made of several texts, or of rows."""

import csv
import io
import posixpath
import zipfile
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any
from urllib.parse import unquote

from pipelines.corpus.detection import decode
from pipelines.corpus.markup import html
from pipelines.corpus.parts import Converted, Empty, Part, Unreadable, assembled, records

SAMPLE_CHARACTERS = 8192


def mail(content: bytes) -> Converted:
    """Subject, sender, recipients, date and the body, as text where there is one, else as HTML. Attachments are named, not read."""
    message = BytesParser(policy=policy.default).parsebytes(content)
    assert isinstance(message, EmailMessage)
    heads = [f"{name}: {message[name]}" for name in ("From", "To", "Cc", "Date") if message[name]]
    subject = str(message["Subject"] or "").strip()
    body = message.get_body(("plain", "html"))
    text = "" if body is None else str(body.get_content())
    if body is not None and body.get_content_subtype() == "html":
        text = html(text).text
    named = [f"Attachment, not read: {part.get_filename() or part.get_content_type()}" for part in message.iter_attachments()]
    if not text.strip() and not subject:
        raise Empty
    return assembled([Part("heading", subject, 1), Part("text", "\n".join(heads)), Part("text", text.replace("\r\n", "\n")), Part("text", "\n".join(named))])


def sheet(content: bytes) -> Converted:
    """CSV: each row as a line of `column: value` pairs."""
    parts = [part.text for part in records(rows(decode(content)))]
    return assembled([Part("text", "\n".join(parts))])


def rows(text: str) -> list[list[str]]:
    """Rows of a CSV text, with the delimiter that its beginning shows."""
    try:
        dialect: Any = csv.Sniffer().sniff(text[:SAMPLE_CHARACTERS], delimiters=",;\t|")
        delimiter = dialect.delimiter
    except csv.Error:
        delimiter = ","  # one column, or too few rows to tell
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise Unreadable(f"not CSV: {error}") from error


def epub(content: bytes) -> Converted:
    """The chapters of an EPUB in reading order."""
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
            package = next(item.attrib["full-path"] for item in container.iter() if item.tag.endswith("}rootfile"))
            book = ElementTree.fromstring(archive.read(package))
            chapters = [archive.read(name) for name in _spine(book, posixpath.dirname(package))]
    except (KeyError, StopIteration, ElementTree.ParseError, DefusedXmlException, zipfile.BadZipFile) as error:
        raise Unreadable(f"a damaged EPUB: {type(error).__name__}: {error}") from error
    title = next((item.text for item in book.iter() if item.tag.endswith("}title") and item.text), None)
    return assembled(_chapters(chapters), title)


def _spine(book: Any, folder: str) -> list[str]:
    """Names of the chapters' files in the archive."""
    items = {item.attrib["id"]: item.attrib["href"] for item in book.iter() if item.tag.endswith("}item") and "html" in item.attrib.get("media-type", "")}
    order = [item.attrib["idref"] for item in book.iter() if item.tag.endswith("}itemref")]
    return [posixpath.normpath(posixpath.join(folder, unquote(items[name]))) for name in order if name in items]


def _chapters(contents: list[bytes]) -> Iterator[Part]:
    for number, content in enumerate(contents, start=1):
        try:
            chapter = html(decode(content))
        except Empty:
            continue  # a cover or an empty page; a book of nothing else has no text and is refused as a whole
        except Unreadable as error:
            raise Unreadable(f"chapter {number}: {error}") from error
        yield from _split(chapter)


def _split(chapter: Converted) -> Iterator[Part]:
    """A chapter as parts again, so that the book's sections are counted from its own start."""
    starts = [section["start"] for section in chapter.sections]
    yield Part("text", chapter.text[: starts[0] if starts else len(chapter.text)])
    for section in chapter.sections:
        body = chapter.text[section["start"] : section["end"]].split("\n", 1)
        yield Part("heading", section["heading"], section["level"])
        yield Part("text", body[1] if len(body) > 1 else "")
