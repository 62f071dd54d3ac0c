"""Reads Markdown: its headings, its front matter, the pictures that it embeds; and plain text."""

import itertools
import re
from typing import Any

from pipelines.corpus.front_matter import FrontMatter, split_front_matter
from pipelines.corpus.parts import ConvertedDocument, Empty, close_sections

PICTURES = "pictures"
FRONT_MATTER = "front matter"
COMMENTS = "comments in the source"
# Of the two alternatives the first is a code span, in which a comment is text.
COMMENT = re.compile(r"(?P<code>`+)(?!`).*?(?<!`)(?P=code)(?!`)|<!--.*?-->", re.DOTALL)
# A picture as text: `data:image/png;base64,iVBORw0...`. Its characters may run over lines, and it
# ends where an address in Markdown or HTML ends.
DATA_URI = re.compile(
    r"(data:[a-z]+/[\w.+-]+)(?:;[\w=.-]+)*"
    r"(?:;base64,\s*[\w+/=%-]{64,}(?:\s+[\w+/=]{60,})*(?:\s+[\w+/]+={1,2})?|,[^\s\"'()<>]{64,})"
)


def convert_markdown(text: str) -> ConvertedDocument:
    """Markdown as it is, with the sections that its headings start.

    Front matter gives the title and, if it has one, the description; the rest of it is left out,
    and so are comments of HTML. Of a picture that is embedded as text, only its media type stays.
    """
    front_matter = split_front_matter(text)
    text = front_matter.body if front_matter else text
    text, num_picture_characters = drop_embedded_pictures(text)
    text, num_comment_characters = _drop_comments(text)
    if front_matter:
        text = _head(front_matter) + text
    document = with_sections(text, front_matter.title if front_matter else None)
    left_out = {
        FRONT_MATTER: front_matter.num_characters if front_matter else 0,
        PICTURES: num_picture_characters,
        COMMENTS: num_comment_characters,
    }
    groups = front_matter.readers if front_matter else None
    return document._replace(left_out=only_losses(left_out), readers=groups)


def _drop_comments(text: str) -> tuple[str, int]:
    """The text without comments of HTML, which no reader sees; the number of characters dropped.

    In a listing they are text.
    """
    if "<!--" not in text:
        return text, 0
    from markdown_it import MarkdownIt

    starts = find_line_starts(text)
    text_left = ""
    position = 0
    for token in MarkdownIt("commonmark").parse(text):
        if token.type in ("html_block", "inline") and token.map:
            start, end = (starts[line] for line in token.map)
            text_left += text[position:start] + COMMENT.sub(_keep_code, text[start:end])
            position = end
    text_left += text[position:]
    return text_left, len(text) - len(text_left)


def _keep_code(match: re.Match[str]) -> str:
    return match[0] if match["code"] else ""


def convert_plain_text(text: str) -> ConvertedDocument:
    """Plain text has no sections."""
    text, num_picture_characters = drop_embedded_pictures(text)
    left_out = only_losses({PICTURES: num_picture_characters})
    return ConvertedDocument(_strip(text), None, [], [], left_out)


def with_sections(text: str, title: str | None = None) -> ConvertedDocument:
    """A Markdown text with its sections; its title is its first heading if none is stated."""
    text = _strip(text)
    sections = find_sections(text)
    headings = (section["heading"] for section in sections if section["heading"])
    return ConvertedDocument(text, title or next(headings, None), sections, [])


def only_losses(left_out: dict[str, int]) -> dict[str, int]:
    """The kinds of which something was left out."""
    return {kind: number for kind, number in left_out.items() if number}


def drop_embedded_pictures(text: str) -> tuple[str, int]:
    """The text with `data:image/png` for each embedded picture; the number of characters dropped.

    One picture of 700 kB would be 953 chunks of noise.
    """
    if "data:" not in text:
        return text, 0
    remainder = DATA_URI.sub(r"\1", text)
    return remainder, len(text) - len(remainder)


def _head(front_matter: FrontMatter) -> str:
    """The title as a heading, unless the text begins with one of level 1, and the description."""
    parts = []
    first_section = next(iter(find_sections(front_matter.body)), None)
    has_heading = first_section is not None and first_section["level"] == 1
    if front_matter.title and not has_heading:
        parts.append(f"# {front_matter.title}\n\n")
    if front_matter.description:
        parts.append(f"{front_matter.description}\n\n")
    return "".join(parts)


def _strip(text: str) -> str:
    """The text with Unix line ends: to Markdown a lone carriage return ends a line too."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise Empty
    return text + "\n"


def find_sections(text: str) -> list[dict[str, Any]]:
    """The headings of a Markdown text, each with its level and its span in characters."""
    from markdown_it import MarkdownIt

    starts = find_line_starts(text)
    tokens = MarkdownIt("commonmark").parse(text)
    headings = []
    for token, content in itertools.pairwise(tokens):
        if token.type == "heading_open" and token.map:
            heading = _heading_words(content.children or [])
            level = int(token.tag[1])
            headings.append({"heading": heading, "level": level, "start": starts[token.map[0]]})
    return close_sections(headings, len(text))


def _heading_words(inline_tokens: list[Any]) -> str:
    """The words of a heading without markup; `max_tokens` keeps its underscore."""
    text = ""
    for token in inline_tokens:
        if token.type.endswith("break"):
            text += " "
        elif token.type != "html_inline":
            text += token.content
    return " ".join(text.split())


def find_line_starts(text: str) -> list[int]:
    """The character at which each line starts, then the length of the text."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    starts[-1] = len(text)
    return starts
