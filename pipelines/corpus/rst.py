"""Reads reStructuredText, Sphinx's included, and writes it as Markdown.

docutils parses it; Sphinx's directives and roles, which it does not know, are read by
sphinx_markup.py. What cannot be resolved stays in the text as its source.
"""

import io
import re
from collections import Counter
from copy import copy
from functools import cache
from typing import Any

from pipelines.corpus.html import parse
from pipelines.corpus.html_writer import write_markdown
from pipelines.corpus.markdown import only_losses, with_sections
from pipelines.corpus.parts import TOO_DEEP, ConvertedDocument, Unreadable
from pipelines.corpus.sphinx_directives import OPEN_REFERENCES
from pipelines.corpus.sphinx_markup import sphinx_markup
from pipelines.corpus.sphinx_roles import REFERENCE

SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 6,
    "syntax_highlight": "none",
    "math_output": "LaTeX",
    "traceback": True,  # errors are raised instead of printed
    "warning_stream": io.StringIO(),
}
# Fields at the top of a file that Sphinx reads and does not show.
FILE_FIELDS = re.compile(r"\A\s*(?::(?:orphan|tocdepth|nocomments|nosearch):.*(?:\n|\Z))+")
LOST_IN_ERRORS = 2  # the level of a warning: from it on, docutils drops what it could not read


def convert_rst(text: str) -> ConvertedDocument:
    """reStructuredText as Markdown. Files that a directive includes are not read."""
    from docutils.core import publish_doctree, publish_from_doctree
    from docutils.writers.html5_polyglot import Writer

    losses: Counter[str] = Counter()
    try:
        settings = copy(_settings())
        with sphinx_markup():
            tree = publish_doctree(FILE_FIELDS.sub("", text), settings=settings)
        _resolve(tree, losses)
        html = publish_from_doctree(tree, writer=Writer(), settings=settings)
    except RecursionError as error:
        raise Unreadable(TOO_DEEP) from error
    # On hostile input, docutils raises its own and Python's errors: each is a rejection.
    except Exception as error:
        raise Unreadable(f"not reStructuredText: {error}") from error
    body = _body(html.decode(), losses)
    markdown, left_out = write_markdown(body)
    document = with_sections(markdown)
    return document._replace(left_out=only_losses({**losses, **left_out}))


@cache
def _settings() -> Any:
    """docutils takes a fifth of a short document's time to put its own settings together."""
    from docutils.frontend import get_default_settings
    from docutils.parsers.rst import Parser
    from docutils.readers.standalone import Reader
    from docutils.writers.html5_polyglot import Writer

    settings = get_default_settings(Parser, Reader, Writer)
    for name, value in SETTINGS.items():
        setattr(settings, name, value)
    return settings


def _resolve(tree: Any, losses: Counter[str]) -> None:
    """Put text for references to labels, and the source of what docutils could not read."""
    from docutils import nodes

    losses[OPEN_REFERENCES] += _restore_unread(tree)
    for source in tree.findall(nodes.literal):
        if OPEN_REFERENCES in source["classes"]:
            losses[OPEN_REFERENCES] += len(source.astext())
    for comment in list(tree.findall(nodes.comment)):
        losses["comments"] += len(comment.astext())
        comment.parent.remove(comment)
    for reference in list(tree.findall(nodes.inline)):
        label = reference.get(REFERENCE)
        if label is not None:
            title = _section_title(tree, label) or reference.astext()
            reference.replace_self(nodes.Text(title))


def _restore_unread(tree: Any) -> int:
    """Put the source of each directive or table that could not be read where its error stands."""
    from docutils import nodes

    num_characters = 0
    for message in list(tree.findall(nodes.system_message)):
        source = next(iter(message.findall(nodes.literal_block)), None)
        if source is None or message.get("level", 0) < LOST_IN_ERRORS:
            continue
        num_characters += len(source.astext())
        if message.parent is None or "system-messages" in message.parent.get("classes", []):
            continue
        message.replace_self(nodes.literal_block("", source.astext()))
    return num_characters


def _section_title(tree: Any, label: str) -> str | None:
    """The title of the section, figure or table of this document that the label is of."""
    from docutils import nodes

    identifier = tree.nameids.get(nodes.fully_normalize_name(label))
    target = tree.ids.get(identifier) if identifier else None
    if target is None:
        return None
    title = next(iter(target.findall(lambda node: isinstance(node, nodes.title))), None)
    if title is None:
        title = next(iter(target.findall(nodes.caption)), None)
    return None if title is None else str(title.astext())


def _body(html: str, losses: Counter[str]) -> Any:
    """docutils' page without its table of contents, its notes as parts of the text."""
    soup = parse(html)
    body = soup.find("main") or soup.body or soup
    for element in body(["nav", "script", "style", "head", "object"]):
        losses["navigation"] += len(element.get_text(" ", strip=True))
        element.decompose()
    for label in body.select("aside.footnote > span.label, div.citation > span.label"):
        paragraph = label.find_next_sibling("p")
        if paragraph is not None:
            paragraph.insert(0, label.extract(), " ")
    for title in body.select("p.admonition-title, p.topic-title, p.sidebar-title"):
        words = title.get_text(" ", strip=True)
        if words == "!DANGER!":  # docutils' form
            title.string = "Danger"
    return body
