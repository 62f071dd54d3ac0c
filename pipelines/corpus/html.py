"""Converts HTML pages to Markdown, so that chunking has a single syntax to parse."""

import warnings
from typing import TYPE_CHECKING

from pipelines.corpus.html_writer import write_markdown
from pipelines.corpus.main_content import extract_content
from pipelines.corpus.markdown import only_losses, with_sections
from pipelines.corpus.parts import ConvertedDocument

if TYPE_CHECKING:
    from bs4 import BeautifulSoup


def convert_html(text: str) -> ConvertedDocument:
    """The main content of an HTML page as Markdown.

    Its title is the first heading; if there is none, the page's <title>.
    """
    soup = parse(text)
    page_title = soup.title.get_text(" ", strip=True) if soup.title else ""
    content, losses = extract_content(soup)
    markdown, left_out = write_markdown(content)
    document = with_sections(markdown)
    return document._replace(
        title=document.title or page_title or None,
        left_out=only_losses({**losses, **left_out}),
    )


def parse(text: str) -> "BeautifulSoup":
    """The elements of an HTML text."""
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning

    warnings.filterwarnings("ignore", category=XMLParsedAsHTMLWarning)
    return BeautifulSoup(text, "lxml")
