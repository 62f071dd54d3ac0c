"""Knows markup: HTML and reStructuredText become Markdown, so that chunking knows one syntax alone.

Of an HTML page the main content stays. Menus, breadcrumbs, footers and the like go: by their element, role, class or id, and by
their share of link text (Kohlschütter et al. 2010, "Boilerplate detection using shallow text features").
"""

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from pipelines.corpus.parts import TOO_DEEP, Converted, Empty, Unreadable

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

DOCUTILS = {"file_insertion_enabled": False, "raw_enabled": False, "report_level": 5, "halt_level": 6, "syntax_highlight": "none", "warning_stream": io.StringIO()}
NEVER = ["script", "style", "nav", "footer", "aside", "noscript", "template", "form", "button", "svg", "iframe", "object", "head"]
ROLES = {"navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar", "dialog"}
WORDS = {
    "nav", "navbar", "navigation", "menu", "breadcrumb", "breadcrumbs", "footer", "sidebar", "toc", "cookie", "cookies", "consent", "pagination", "pager", "social", "share", "sharing",
    "comments", "toplang", "bottomlang", "headerlink", "skip", "quickview",
}  # fmt: skip
HEADS = {"header", "masthead", "banner", "topbar"}
BLOCKS = ["div", "p", "ul", "ol", "table", "section", "dl", "td"]
MOST_LINK_TEXT = 0.6
FEWEST_LINKS = 3
MOST_NESTED = 200  # elements; real pages have tens
PILCROW = re.compile(r"^[¶#§🔗\s]*$")


def markdown(text: str) -> Converted:
    """Markdown as it is, with the sections that its headings make."""
    return with_sections(text)


def plain(text: str) -> Converted:
    """Plain text: no sections."""
    return Converted(_checked(text), None, [], [])


def html(text: str) -> Converted:
    """The main content of an HTML page as Markdown. Its title is the first heading, else the page's <title>."""
    soup = _soup(text)
    named = soup.title.get_text(" ", strip=True) if soup.title else ""
    found = with_sections(_markdown(_main(soup)))
    return found._replace(title=found.title or named or None)


def rst(text: str) -> Converted:
    """reStructuredText as Markdown. It includes no file and no raw HTML."""
    from docutils.core import publish_parts

    try:
        parts = publish_parts(text, writer="html5", settings_overrides=DOCUTILS)
    except RecursionError as error:
        raise Unreadable(TOO_DEEP) from error
    except Exception as error:  # docutils raises its own and Python's errors on hostile input: each is a rejection, with its text
        raise Unreadable(f"not reStructuredText: {error}") from error
    soup = _soup(parts["html_body"])
    body = soup.find("main") or soup
    for unwanted in body(NEVER):
        unwanted.decompose()
    return with_sections(_markdown(body))


def _soup(text: str) -> "BeautifulSoup":
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning

    warnings.filterwarnings("ignore", category=XMLParsedAsHTMLWarning)
    return BeautifulSoup(text, "lxml")


def _main(soup: "BeautifulSoup") -> Any:
    """The element of the page's content, without what is no content. A page of nothing but links keeps them."""
    if _depth(soup) > MOST_NESTED:
        raise Unreadable(TOO_DEEP)
    content = soup.find("main") or soup.find("article") or soup.find(True, attrs={"role": "main"})
    body: Any = content or soup.body or soup
    for unwanted in body(NEVER):
        unwanted.decompose()
    for element in body.find_all(True):
        if not element.decomposed and element is not body and _is_furniture(element, inside=bool(content)):
            element.decompose()
    kept = str(body) if len(body.get_text(strip=True)) else ""
    for element in reversed(body.find_all(BLOCKS)):
        if not element.decomposed and (_is_menu(element) or (element.name in ("table", "ul", "ol", "dl") and not element.get_text(strip=True))):
            element.decompose()
    return body if len(body.get_text(strip=True)) >= 40 or not kept else _soup(kept)


def _depth(soup: "BeautifulSoup") -> int:
    """How deeply elements are nested."""
    depths = {id(soup): 0}
    for element in soup.find_all(True):
        depths[id(element)] = depths[id(element.parent)] + 1
    return max(depths.values())


def _is_furniture(element: "Tag", inside: bool) -> bool:
    """Whether role, class or id say that this is no content. A head that holds the page's first heading stays."""
    if str(element.get("role", "")).lower() in ROLES:
        return True
    names: Any = element.get("class") or ""
    named = f"{element.get('id') or ''} {names if isinstance(names, str) else ' '.join(names)}"
    words = set(re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", named).lower()))
    if words & WORDS and element.name in (*BLOCKS, "header"):
        return element.find("h1") is None
    headed = element.name == "header" or bool(words & HEADS and element.name == "div")
    return headed and element.find(["h1", "h2"] if inside else "h1") is None


def _is_menu(element: "Tag") -> bool:
    """Whether most of its text is link text: a menu, a table of contents, a list of languages."""
    links = element.find_all("a")
    if element.find(["h1", "h2", "pre", "code"]) or len(links) < FEWEST_LINKS:
        return False
    total = len(element.get_text("", strip=True))
    return total > 0 and sum(len(link.get_text("", strip=True)) for link in links) / total > MOST_LINK_TEXT


def _markdown(body: Any) -> str:
    from markdownify import MarkdownConverter

    for link in body.find_all("a"):
        if PILCROW.match(link.get_text()):
            link.decompose()  # the mark beside a heading that leads to itself
    for heading in body.find_all(["h1", "h2", "h3", "h4", "h5", "h6"]):
        if not heading.get_text(strip=True):
            heading.decompose()
    try:
        text: str = MarkdownConverter(heading_style="ATX", strip=["img", "a"], escape_underscores=False, escape_asterisks=False).convert_soup(body)
    except RecursionError as error:
        raise Unreadable(TOO_DEEP) from error
    return re.sub(r"\n{3,}", "\n\n", text)


def with_sections(text: str) -> Converted:
    """Markdown with its headings' character spans; a section ends where the next one starts."""
    text = _checked(text)
    parts = sections(text)
    return Converted(text, next((part["heading"] for part in parts if part["heading"]), None), parts, [])


def _checked(text: str) -> str:
    text = text.strip()
    if not text:
        raise Empty
    return text + "\n"


def sections(text: str) -> list[dict[str, Any]]:
    """Headings of a Markdown text: heading, level, start and end in characters."""
    from markdown_it import MarkdownIt

    starts = line_starts(text)
    tokens = MarkdownIt("commonmark").parse(text)
    found = [
        {"heading": _words(tokens[number + 1].children or []), "level": int(token.tag[1]), "start": starts[token.map[0]]}
        for number, token in enumerate(tokens)
        if token.type == "heading_open" and token.map
    ]
    ends = [*(section["start"] for section in found), len(text)][1:]
    return [{**section, "end": end} for section, end in zip(found, ends, strict=True)]


def _words(inline: list[Any]) -> str:
    """Words of a heading without its markup: `max_tokens` keeps its underscore."""
    return " ".join("".join(" " if token.type.endswith("break") else token.content for token in inline if token.type != "html_inline").split())


def line_starts(text: str) -> list[int]:
    """Character at which each line starts; one more entry for the end."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    starts[-1] = len(text)
    return starts
