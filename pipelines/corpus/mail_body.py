"""The body of an e-mail: its encoding, its version in HTML, its folded lines."""

import re
from email.header import decode_header

from pipelines.corpus.detection import decode
from pipelines.corpus.html import parse
from pipelines.corpus.html_writer import write_markdown
from pipelines.corpus.main_content import NEVER_TEXT
from pipelines.corpus.parts import Unreadable

MIN_TEXT_SHARE = 0.5  # of the HTML version's words, below which the plain text stands for nothing
REPLACEMENT = "\ufffd"  # stands for bytes that the parser of headers could not decode
INVISIBLE = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all", re.IGNORECASE)


def decode_text(content: bytes, charset: str | None) -> str:
    """The text of a part; if its charset is unknown or wrong, by what the content looks like."""
    text = _decode_as(content, charset)
    if text is None:
        try:
            text = decode(content)
        except Unreadable:
            text = _decode_western(content)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode_as(content: bytes, charset: str | None) -> str | None:
    try:
        return content.decode(charset) if charset else None
    except (LookupError, UnicodeDecodeError):
        return None


def _decode_western(content: bytes) -> str:
    """The text in UTF-8 or, as mail programs take what is none, in Windows' Western encoding."""
    text = _decode_as(content, "utf-8")
    return content.decode("cp1252", "replace") if text is None else text


def decode_header_text(value: str) -> str:
    """A header as it is written, of which some words are in encodings that are unknown."""
    text = ""
    for word, charset in decode_header(value):
        is_text = isinstance(word, str)
        content = word.encode("utf-8", "surrogateescape") if is_text else word
        decoded_word = _decode_as(content, charset)
        text += _decode_western(content) if decoded_word is None else decoded_word
    return text


def html_to_text(html: str) -> str:
    """The whole of a mail's HTML as Markdown: it has no menus, and is laid out by tables."""
    soup = parse(html)
    body = soup.body or soup
    for element in body.find_all(NEVER_TEXT):
        if not element.decomposed:
            element.decompose()
    for element in body.find_all(style=INVISIBLE):
        if not element.decomposed:
            element.decompose()
    text, _ = write_markdown(body)
    return text.strip()


def choose_body(versions: list[tuple[bool, str]]) -> str:
    """The plain text of (is HTML, text) versions; the HTML if that says more than twice as much.

    The plain text is often empty, or only says that the reader's program cannot show HTML.
    """
    plain = max((text for is_html, text in versions if not is_html), key=len, default="")
    html = max((text for is_html, text in versions if is_html), key=len, default="")
    is_enough = len(plain.split()) >= MIN_TEXT_SHARE * len(html.split())
    return plain if is_enough and plain.strip() else html or plain


def unfold_flowed(text: str, deletes_space: bool) -> str:
    """Join the lines that a mail program broke (RFC 3676): those that end with a blank."""
    lines: list[str] = []
    is_open = False
    open_depth = 0
    for line in text.split("\n"):
        quote = re.match(r">*", line)
        depth = len(quote[0]) if quote else 0
        content = line[depth:].removeprefix(" ")
        if is_open and depth == open_depth:
            lines[-1] += content
        else:
            lines.append(f"{'>' * depth} {content}" if depth else content)
        is_signature = content == "-- "
        is_open = content.endswith(" ") and not is_signature
        open_depth = depth
        if is_open and deletes_space:
            lines[-1] = lines[-1][:-1]
    return "\n".join(lines)
