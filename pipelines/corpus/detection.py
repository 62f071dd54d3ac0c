"""Knows what a file is by its content: its media type, and for text its encoding. The name decides only between kinds of text."""

import io
import re
import zipfile
from pathlib import PurePosixPath

from pipelines.corpus.parts import Unreadable

PDF, DOCX, PPTX, XLSX, EPUB = (
    "application/pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/epub+zip",
)
HTML, MARKDOWN, RST, PLAIN, CSV, MAIL = "text/html", "text/markdown", "text/x-rst", "text/plain", "text/csv", "message/rfc822"
SUFFIXES = {".md": MARKDOWN, ".markdown": MARKDOWN, ".rst": RST, ".html": HTML, ".htm": HTML, ".xhtml": HTML, ".csv": CSV, ".tsv": CSV, ".eml": MAIL}
TEXTS = {MARKDOWN, RST, HTML, PLAIN, CSV, MAIL}
OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
HTML_START = re.compile(r"(?is)\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!doctype\s+html|<html[\s>])")
MAIL_HEADERS = re.compile(r"(?im)^(received|return-path|message-id|mime-version|from|to|subject|date|delivered-to):\s?\S")
FEWEST_BYTES = 24  # of a text that is not Unicode; the encoding of a shorter one would be a guess


def media_type(content: bytes, name: str, hint: str | None = None) -> str:
    """The media type. `hint` is what the source says; it and the name count only where the content is text. Raises Unreadable with what it is instead."""
    if b"%PDF-" in content[:1024]:
        return PDF
    if content.startswith(b"PK\x03\x04"):
        return _archive(content)
    if content.startswith(OLE2):
        raise Unreadable("an Office file from before 2007, or one with a password: save it as docx, pptx or xlsx without a password")
    text = decode(content)
    if HTML_START.match(text[:20000]):
        return HTML
    head = re.split(r"\n\s*\n", text[:20000], maxsplit=1)[0]
    suffix = PurePosixPath(name).suffix.lower()
    if len({found.lower() for found in MAIL_HEADERS.findall(head)}) >= 3 and suffix in ("", ".eml", ".txt", ".mbox"):
        return MAIL
    return hint if hint in TEXTS else SUFFIXES.get(suffix, PLAIN)


def _archive(content: bytes) -> str:
    """Which zip-based format this is."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            kind = archive.open("mimetype").read(64).strip() if "mimetype" in names else b""
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise Unreadable(f"a damaged zip archive: {error}") from error
    if kind == EPUB.encode():
        return EPUB
    for folder, found in (("word/", DOCX), ("ppt/", PPTX), ("xl/", XLSX)):
        if "[Content_Types].xml" in names and any(name.startswith(folder) for name in names):
            return found
    raise Unreadable("a zip archive that is no docx, pptx, xlsx or EPUB: unpack it")


def decode(content: bytes) -> str:
    """Text in Unicode, or in the encoding that its bytes are in. Raises Unreadable with the place of the first wrong byte."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        reason = f"not {encoding.removesuffix('-sig')}: {error.reason} at byte {error.start}"
        text = _legacy(content, reason) if encoding == "utf-8-sig" else _refuse(reason)
    if "\0" in text:
        _refuse(f"{_kind(content)}holds a NUL character at {text.index(chr(0))}: not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _legacy(content: bytes, reason: str) -> str:
    """Text in an older encoding. Damaged UTF-8 is refused: in another encoding it would read as nonsense."""
    from charset_normalizer import from_bytes

    if b"\0" in content:
        _refuse(f"{_kind(content)}{reason}")
    read = content.decode("utf-8", "replace")
    wrong = read.count("\ufffd")
    if len(content) < FEWEST_BYTES or sum(character > "\x7f" for character in read) - wrong >= wrong:
        _refuse(reason)
    best = from_bytes(content, steps=8, chunk_size=1024, threshold=0.15).best()
    if best is None:
        _refuse(f"{_kind(content)}{reason}")
    return str(best)


def _kind(content: bytes) -> str:
    """What a binary file is, for the reason of its rejection."""
    import puremagic

    try:
        found = puremagic.from_string(content, mime=True)
    except (puremagic.PureError, ValueError):
        return ""
    return f"is {found}, for which there is no reader; " if found and not found.startswith("text/") else ""


def _refuse(reason: str) -> str:
    raise Unreadable(reason)
