"""Detects what a file is by its content: its media type and, for text, its encoding."""

import io
import re
import zipfile
from pathlib import PurePosixPath
from typing import NoReturn

from pipelines.corpus.parts import Unreadable

OFFICE = "application/vnd.openxmlformats-officedocument"
PDF = "application/pdf"
DOCX = f"{OFFICE}.wordprocessingml.document"
PPTX = f"{OFFICE}.presentationml.presentation"
XLSX = f"{OFFICE}.spreadsheetml.sheet"
EPUB = "application/epub+zip"
HTML = "text/html"
MARKDOWN = "text/markdown"
RST = "text/x-rst"
PLAIN = "text/plain"
CSV = "text/csv"
MAIL = "message/rfc822"
MSG = "application/vnd.ms-outlook"
MDX = "text/mdx"
NOTEBOOK = "application/x-ipynb+json"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
YAML = "application/yaml"
XML = "application/xml"

TEXTS = {MARKDOWN, RST, HTML, PLAIN, CSV, MAIL, MDX, NOTEBOOK, JSON, JSON_LINES, YAML, XML}
SUFFIXES = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".rst": RST,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".csv": CSV,
    ".tsv": CSV,
    ".eml": MAIL,
    ".mdx": MDX,
    ".ipynb": NOTEBOOK,
    ".json": JSON,
    ".geojson": JSON,
    ".jsonld": JSON,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".yaml": YAML,
    ".yml": YAML,
    ".xml": XML,
    ".dita": XML,
    ".ditamap": XML,
    ".dbk": XML,
}
# Texts that would be read as nonsense: no reader in Python that is kept up to date.
UNREAD_SUFFIXES = {
    ".adoc": "AsciiDoc: convert it to HTML with `asciidoctor -b html5`",
    ".asciidoc": "AsciiDoc: convert it to HTML with `asciidoctor -b html5`",
    ".rtf": "RTF: save it as docx",
    ".svg": "a picture (SVG)",
    ".tex": "LaTeX: convert it to Markdown with `pandoc -f latex -t gfm`",
    ".latex": "LaTeX: convert it to Markdown with `pandoc -f latex -t gfm`",
    ".org": "Org mode: convert it to Markdown with `pandoc -f org -t gfm`",
    ".textile": "Textile: convert it to Markdown with `pandoc -f textile -t gfm`",
    ".mediawiki": "MediaWiki's markup: convert it to Markdown with `pandoc -f mediawiki -t gfm`",
    ".wiki": "a wiki's markup: convert it to Markdown, for example with `pandoc -f mediawiki`",
    ".typ": "Typst: convert it to Markdown with `pandoc -f typst -t gfm`",
    ".texi": "Texinfo: convert it to HTML with `makeinfo --html`",
    ".texinfo": "Texinfo: convert it to HTML with `makeinfo --html`",
    ".pod": "Perl's POD: convert it to HTML with `pod2html`",
    ".fodt": "flat OpenDocument: save it as docx",
    ".fods": "flat OpenDocument: save it as xlsx",
    ".fodp": "flat OpenDocument: save it as pptx",
}
# A link that git-annex leaves where a file's content is not present, as a file or as a link's text.
ANNEX_POINTER = re.compile(rb"(?:/|(?:\.\./)*\.git/)annex/objects/[^\n]{1,4000}\n?")
MAX_POINTER_BYTES = 32 << 10  # git-annex's own bound
OLE2_START = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
UNREAD_STARTS = {
    b"version https://git-lfs.github.com/spec/": (
        "a Git LFS pointer, not the file: run `git lfs pull` in its repository"
    ),
    b"{\\rtf": "RTF: save it as docx",
    OLE2_START: (
        "an Office file from before 2007, or one with a password: "
        "save it as docx, pptx or xlsx without a password"
    ),
}
PLAIN_SUFFIXES = (".txt", ".log", ".text")
OFFICE_FOLDERS = {"word/": DOCX, "ppt/": PPTX, "xl/": XLSX}
OUTLOOK_STREAM = "__properties_version1.0".encode("utf-16-le")  # of a saved message
ZIP_START = b"PK\x03\x04"
HTML_START = re.compile(r"(?is)\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!doctype\s+html|<html[\s>])")
XML_START = re.compile(r"\s*<\?xml\s")
# A text that begins with an element of HTML and ends with one, as rows of a database have it.
FRAGMENT_START = re.compile(
    r"(?i)\s*<(?:p|div|h[1-6]|ul|ol|dl|table|section|article|blockquote|pre|span|br|hr|b|strong|"
    r"em|i|u|a|font|center|figure|img|details|!--)(?:\s[^<>]*)?/?>"
)
FRAGMENT_END = re.compile(r"(?i)(?:</[a-z][a-z0-9]*\s*>|<br\s*/?>|<img\s[^<>]*>|-->)\s*\Z")
# In a text that begins otherwise, so many of these make it a fragment: "Hi<br>, I <b>need</b> ...".
FRAGMENT_TAG = re.compile(
    r"(?i)</(?:p|div|h[1-6]|ul|ol|li|table|tr|td|b|strong|em|i|a|span|code)>|<[bh]r\s*/?>|<p>"
)
MIN_FRAGMENT_TAGS = 3
MAIL_HEADERS = re.compile(
    r"(?im)^(received|return-path|message-id|mime-version|from|to|subject|date|delivered-to):\s?\S"
)
MAIL_SUFFIXES = ("", ".eml", ".txt", ".mbox")
MIN_MAIL_HEADERS = 3
SAMPLE_CHARACTERS = 20000  # decide between kinds of text
MIN_LEGACY_BYTES = 24  # of a text that is not Unicode; for a shorter one the encoding is a guess


def detect_media_type(content: bytes, name: str, hint: str | None = None) -> str:
    """The media type.

    `hint` is what the source states; it and the name count only if the content is text. Raises
    Unreadable, which says what the content is, if there is no reader for it.
    """
    if b"%PDF-" in content[:1024]:
        return PDF
    if content.startswith(ZIP_START):
        return _detect_archive_type(content)
    if content.startswith(OLE2_START) and OUTLOOK_STREAM in content:
        return MSG
    _refuse_by_start(content)
    sample = decode(content)[:SAMPLE_CHARACTERS]
    suffix = PurePosixPath(name).suffix.lower()
    if HTML_START.match(sample):
        return HTML
    if suffix in UNREAD_SUFFIXES:
        raise Unreadable(UNREAD_SUFFIXES[suffix])
    if suffix in MAIL_SUFFIXES and _has_mail_headers(sample):
        return MAIL
    stated_type = hint if hint in TEXTS else SUFFIXES.get(suffix)
    return stated_type or _detect_by_sample(sample, suffix)


def _refuse_by_start(content: bytes) -> None:
    for start, reason in UNREAD_STARTS.items():
        if content.startswith(start):
            raise Unreadable(reason)
    if len(content) <= MAX_POINTER_BYTES and ANNEX_POINTER.match(content.lstrip(b"\xef\xbb\xbf")):
        raise Unreadable(
            "a git-annex pointer, not the file: run `git annex get` on it in its repository"
        )


def _detect_by_sample(sample: str, suffix: str) -> str:
    """The type of a text whose name says nothing.

    Rows of a database and of a data set have no suffix: their texts are often fragments of HTML.
    """
    if XML_START.match(sample):
        return XML
    if suffix in PLAIN_SUFFIXES or suffix[1:].isalpha():
        return PLAIN
    return HTML if _is_fragment(sample, is_whole=len(sample) < SAMPLE_CHARACTERS) else PLAIN


def _is_fragment(sample: str, is_whole: bool) -> bool:
    """Whether a text is HTML without the page's frame, rather than a text about HTML."""
    if FRAGMENT_START.match(sample) and (FRAGMENT_END.search(sample) or not is_whole):
        return True
    without_code = re.sub(r"`[^`]*`", "", sample)
    if without_code != sample:
        return False  # Markdown: elements in it are quoted, or stay as they are
    return len(FRAGMENT_TAG.findall(sample)) >= MIN_FRAGMENT_TAGS


def _has_mail_headers(sample: str) -> bool:
    head = re.split(r"\n\s*\n", sample, maxsplit=1)[0]
    names = {name.lower() for name in MAIL_HEADERS.findall(head)}
    return len(names) >= MIN_MAIL_HEADERS


def _detect_archive_type(content: bytes) -> str:
    """Which zip-based format this is."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            stated_type = archive.open("mimetype").read(64) if "mimetype" in names else b""
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise Unreadable(f"a damaged zip archive: {error}") from error
    if stated_type.strip() == EPUB.encode():
        return EPUB
    if stated_type.startswith(b"application/vnd.oasis.opendocument"):
        raise Unreadable("an OpenDocument file: save it as docx, pptx or xlsx")
    if any(name.endswith(".iwa") for name in names):
        raise Unreadable("a file of Pages, Numbers or Keynote: export it as docx, xlsx or pptx")
    for folder, media_type in OFFICE_FOLDERS.items():
        has_folder = any(name.startswith(folder) for name in names)
        if has_folder and "[Content_Types].xml" in names:
            return media_type
    raise Unreadable("a zip archive that is no docx, pptx, xlsx or EPUB: unpack it")


def decode(content: bytes) -> str:
    """The content as text with Unix line ends.

    Raises Unreadable, which names the first wrong byte, if the content is not text.
    """
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        reason = f"not {encoding.removesuffix('-sig')}: {error.reason} at byte {error.start}"
        if encoding == "utf-16":
            raise Unreadable(reason) from error
        text = _decode_legacy(content, reason)
    if "\0" in text:
        position = text.index("\0")
        _refuse_binary(content, f"holds a NUL character at {position}: not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode_legacy(content: bytes, reason: str) -> str:
    """Text in an encoding that is not Unicode.

    Raises Unreadable with the reason for damaged UTF-8: in another encoding it reads as nonsense.
    """
    from charset_normalizer import from_bytes

    if b"\0" in content:
        _refuse_binary(content, reason)
    text = content.decode("utf-8", "replace")
    num_wrong = text.count("\ufffd")
    num_right = sum(character > "\x7f" for character in text) - num_wrong
    if len(content) < MIN_LEGACY_BYTES or num_right >= num_wrong:
        raise Unreadable(reason)
    best = from_bytes(content, steps=8, chunk_size=1024, threshold=0.15).best()
    if best is None:
        _refuse_binary(content, reason)
    return str(best)


def _refuse_binary(content: bytes, reason: str) -> NoReturn:
    """Raise Unreadable with what a binary file is, if that can be told, and with the reason."""
    import puremagic

    try:
        media_type = puremagic.from_string(content, mime=True)
    except (puremagic.PureError, ValueError):
        media_type = ""
    if media_type and not media_type.startswith("text/"):
        reason = f"is {media_type}, for which there is no reader; {reason}"
    raise Unreadable(reason)
