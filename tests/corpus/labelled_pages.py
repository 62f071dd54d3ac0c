"""Pages as 48 generators write them, in which comments mark the main content.

`<!--content-->` to `<!--/content-->` is what a reader came for; `<!--skip-->` to `<!--/skip-->`
within it is not: marks beside headings, buttons, line numbers.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup, Comment, Tag
from bs4.element import NavigableString

PAGES = Path(__file__).parent / "pages"
MARKS = re.compile(r"<!--/?(?:content|skip)-->")
BLOCKS = {
    "address", "article", "aside", "blockquote", "br", "button", "dd", "details", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "hr", "label", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table",
    "tbody", "td", "th", "thead", "tr", "ul", "sup",
}  # fmt: skip


class LabelledPage(NamedTuple):
    """A page without its marks, and the words of its main content."""

    name: str
    html: str
    words: Counter[str]


class Score(NamedTuple):
    """Of the main content's words: the share that was read; of those read, the share of content."""

    recall: float
    precision: float


def read_pages() -> list[LabelledPage]:
    pages = []
    for path in sorted(PAGES.glob("*.html")):
        source = path.read_text()
        label = " ".join(_labelled_text(source))
        pages.append(LabelledPage(path.stem, MARKS.sub("", source), count_words(label)))
    return pages


def _labelled_text(source: str) -> Iterator[str]:
    """The text nodes inside the marks, with a blank where a block begins or ends."""
    is_content = False
    is_skipped = False
    line = ""
    is_apart = True
    for node in BeautifulSoup(source, "html.parser").descendants:
        if isinstance(node, Comment):
            if str(node) in ("content", "/content"):
                is_content = node == "content"
            elif str(node) in ("skip", "/skip"):
                is_skipped = node == "skip"
        elif isinstance(node, NavigableString):
            is_code = node.parent is not None and node.parent.name in ("script", "style")
            is_apart = is_apart or _begins_block(node)
            if is_content and not is_skipped and not is_code:
                line += f" {node}" if is_apart else str(node)
                is_apart = False
    yield line


def _begins_block(node: NavigableString) -> bool:
    """Whether an element that is a block begins or ends between this text and the one before."""
    before = node.find_previous(string=True)
    if before is None:
        return True
    above = {id(parent) for parent in node.parents}
    names = {parent.name for parent in before.parents if id(parent) not in above}
    for element in node.previous_elements:
        if element is before:
            break
        if isinstance(element, Tag):
            names.add(element.name)
    return bool(names & BLOCKS)


def count_words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower().replace("_", " ")))


def compare(expected: Counter[str], text: str) -> Score:
    words = count_words(text)
    num_common = (expected & words).total()
    return Score(num_common / expected.total(), num_common / max(1, words.total()))
