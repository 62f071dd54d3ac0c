"""Knows file formats: each becomes Markdown or plain text, with the sections that its headings make.

HTML goes through markdownify and reStructuredText through docutils first, so that chunking knows one syntax alone.
"""

import io
import re
from collections.abc import Callable
from typing import Any

from pipelines.errors import UserError

MEDIA_TYPES = {".md": "text/markdown", ".markdown": "text/markdown", ".rst": "text/x-rst", ".html": "text/html", ".htm": "text/html", ".txt": "text/plain"}
DOCUTILS = {"file_insertion_enabled": False, "raw_enabled": False, "report_level": 5, "halt_level": 6, "syntax_highlight": "none", "warning_stream": io.StringIO()}


class Unreadable(UserError):
    """A document that cannot become text; the message is the reason of its rejection."""


def decode(content: bytes) -> str:
    """UTF-8 (or UTF-16 with its mark) as text. Raises Unreadable with the place of the first wrong byte."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(f"not {encoding.removesuffix('-sig')}: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise Unreadable(f"holds a NUL character at {text.index(chr(0))}: not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def convert(content: bytes, media_type: str) -> str:
    """Markdown or plain text. Raises Unreadable where nothing readable is left."""
    text = _CONVERTERS[media_type](decode(content)).strip()
    if not text:
        raise Unreadable("has no text")
    return text + "\n"


def _html(text: str) -> str:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(text, "lxml")
    content = soup.find("main") or soup.find("article")
    body = content or soup.body or soup
    for unwanted in body(["script", "style", "nav", "footer", "noscript", "template", *([] if content else ["header"])]):  # an article's own header holds its title
        unwanted.decompose()
    try:
        markdown: str = MarkdownConverter(heading_style="ATX", strip=["img", "a"], escape_underscores=False, escape_asterisks=False).convert_soup(body)
    except RecursionError as error:
        raise Unreadable("its HTML elements are nested too deeply") from error
    return re.sub(r"\n{3,}", "\n\n", markdown)


def _rst(text: str) -> str:
    from docutils.core import publish_parts

    try:
        parts = publish_parts(text, writer="html5", settings_overrides=DOCUTILS)
    except Exception as error:  # docutils raises its own and Python's errors on hostile input: each is a rejection, with its text
        raise Unreadable(f"not reStructuredText: {error}") from error
    return _html(parts["html_body"])


_CONVERTERS: dict[str, Callable[[str], str]] = {"text/markdown": lambda text: text, "text/x-rst": _rst, "text/html": _html, "text/plain": lambda text: text}


def sections(text: str, media_type: str) -> list[dict[str, Any]]:
    """Headings with their character spans; a section ends where the next one starts. Plain text has none."""
    if media_type == "text/plain":
        return []
    from markdown_it import MarkdownIt

    starts = line_starts(text)
    tokens = MarkdownIt("commonmark").parse(text)
    found = [
        {"heading": _plain(tokens[number + 1].children or []), "level": int(token.tag[1]), "start": starts[token.map[0]]}
        for number, token in enumerate(tokens)
        if token.type == "heading_open" and token.map
    ]
    ends = [*(section["start"] for section in found), len(text)][1:]
    return [{**section, "end": end} for section, end in zip(found, ends, strict=True)]


def _plain(inline: list[Any]) -> str:
    """Words of a heading without its markup: `max_tokens` keeps its underscore."""
    return " ".join("".join(" " if token.type.endswith("break") else token.content for token in inline if token.type != "html_inline").split())


def line_starts(text: str) -> list[int]:
    """Character at which each line starts; one more entry for the end."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    starts[-1] = len(text)
    return starts
