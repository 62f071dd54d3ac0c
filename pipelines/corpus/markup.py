"""Converts HTML and reStructuredText to Markdown, so that chunking has a single syntax to parse.

Of an HTML page, the main content is kept. Menus, breadcrumbs, footers and the like are removed by
element, role, class and id, and by their share of link text (Kohlschütter et al. 2010, "Boilerplate
detection using shallow text features").
"""

import io
import itertools
import re
import warnings
from typing import TYPE_CHECKING, Any

from pipelines.corpus.parts import TOO_DEEP, ConvertedDocument, Empty, Unreadable, close_sections

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

DOCUTILS_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 6,
    "syntax_highlight": "none",
    "warning_stream": io.StringIO(),
}
NEVER_CONTENT = [
    "script", "style", "nav", "footer", "aside", "noscript", "template", "form", "button", "svg",
    "iframe", "object", "head",
]  # fmt: skip
FURNITURE_ROLES = {
    "navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar", "dialog",
}  # fmt: skip
FURNITURE_WORDS = {
    "nav", "navbar", "navigation", "menu", "breadcrumb", "breadcrumbs", "footer", "sidebar", "toc",
    "cookie", "cookies", "consent", "pagination", "pager", "social", "share", "sharing", "comments",
    "toplang", "bottomlang", "headerlink", "skip", "quickview",
}  # fmt: skip
PAGE_HEAD_WORDS = {"header", "masthead", "banner", "topbar"}
BLOCKS = ["div", "p", "ul", "ol", "table", "section", "dl", "td"]
LISTS_AND_TABLES = ("table", "ul", "ol", "dl")
HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
MAX_LINK_TEXT_SHARE = 0.6
MIN_MENU_LINKS = 3
MIN_CONTENT_CHARACTERS = 40
MAX_DEPTH = 200  # nested elements; real pages have tens
ANCHOR_MARK = re.compile(r"^[¶#§🔗\s]*$")


def convert_markdown(text: str) -> ConvertedDocument:
    """Markdown as it is, with the sections that its headings start."""
    text = _strip(text)
    sections = find_sections(text)
    titles = (section["heading"] for section in sections if section["heading"])
    return ConvertedDocument(text, next(titles, None), sections, [])


def convert_plain_text(text: str) -> ConvertedDocument:
    """Plain text has no sections."""
    return ConvertedDocument(_strip(text), None, [], [])


def convert_html(text: str) -> ConvertedDocument:
    """The main content of an HTML page as Markdown.

    Its title is the first heading; if there is none, the page's <title>.
    """
    soup = _parse(text)
    page_title = soup.title.get_text(" ", strip=True) if soup.title else ""
    content = _extract_content(soup)
    document = convert_markdown(_write_markdown(content))
    return document._replace(title=document.title or page_title or None)


def convert_rst(text: str) -> ConvertedDocument:
    """reStructuredText as Markdown. Directives that include files or raw HTML are ignored."""
    from docutils.core import publish_parts

    try:
        parts = publish_parts(text, writer="html5", settings_overrides=DOCUTILS_SETTINGS)
    except RecursionError as error:
        raise Unreadable(TOO_DEEP) from error
    # On hostile input, docutils raises its own and Python's errors: each is a rejection.
    except Exception as error:
        raise Unreadable(f"not reStructuredText: {error}") from error
    soup = _parse(parts["html_body"])
    body = soup.find("main") or soup
    for element in body(NEVER_CONTENT):
        element.decompose()
    return convert_markdown(_write_markdown(body))


def _strip(text: str) -> str:
    text = text.strip()
    if not text:
        raise Empty
    return text + "\n"


def _parse(text: str) -> "BeautifulSoup":
    from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning

    warnings.filterwarnings("ignore", category=XMLParsedAsHTMLWarning)
    return BeautifulSoup(text, "lxml")


def _extract_content(soup: "BeautifulSoup") -> Any:
    """The element that contains the page's content, with everything else removed.

    A page that consists of links alone keeps them.
    """
    if _measure_depth(soup) > MAX_DEPTH:
        raise Unreadable(TOO_DEEP)
    content = soup.find("main") or soup.find("article") or soup.find(True, attrs={"role": "main"})
    body: Any = content or soup.body or soup
    for element in body(NEVER_CONTENT):
        element.decompose()
    _remove_furniture(body, inside_content=content is not None)
    html_with_menus = str(body) if body.get_text(strip=True) else ""
    _remove_menus(body)
    if html_with_menus and len(body.get_text(strip=True)) < MIN_CONTENT_CHARACTERS:
        return _parse(html_with_menus)
    return body


def _measure_depth(soup: "BeautifulSoup") -> int:
    """How deeply elements are nested."""
    depths = {id(soup): 0}
    for element in soup.find_all(True):
        depths[id(element)] = depths[id(element.parent)] + 1
    return max(depths.values())


def _remove_furniture(body: Any, inside_content: bool) -> None:
    for element in body.find_all(True):
        # An element inside one that was removed is gone already.
        if element.decomposed or element is body:
            continue
        if _is_furniture(element, inside_content):
            element.decompose()


def _is_furniture(element: "Tag", inside_content: bool) -> bool:
    """Whether role, class or id mark an element as something other than content.

    A page head that contains the page's first heading stays.
    """
    if str(element.get("role", "")).lower() in FURNITURE_ROLES:
        return True
    words = _identifier_words(element)
    if words & FURNITURE_WORDS and element.name in (*BLOCKS, "header"):
        return element.find("h1") is None
    is_head_by_name = element.name == "div" and bool(words & PAGE_HEAD_WORDS)
    if element.name != "header" and not is_head_by_name:
        return False
    return element.find(["h1", "h2"] if inside_content else "h1") is None


def _identifier_words(element: "Tag") -> set[str]:
    """The words in an element's id and classes in lower case; `siteFooter` has two."""
    classes: Any = element.get("class") or ""
    class_names = classes if isinstance(classes, str) else " ".join(classes)
    identifiers = f"{element.get('id') or ''} {class_names}"
    with_spaces = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", identifiers)
    return set(re.split(r"[\W_]+", with_spaces.lower()))


def _remove_menus(body: Any) -> None:
    """Remove menus, and lists and tables without text. Inner elements go first."""
    for element in reversed(body.find_all(BLOCKS)):
        if element.decomposed:
            continue
        is_empty = element.name in LISTS_AND_TABLES and not element.get_text(strip=True)
        if is_empty or _is_menu(element):
            element.decompose()


def _is_menu(element: "Tag") -> bool:
    """Whether most of the text is link text: a menu, a table of contents, a list of languages."""
    links = element.find_all("a")
    if len(links) < MIN_MENU_LINKS or element.find(["h1", "h2", "pre", "code"]):
        return False
    num_characters = len(element.get_text("", strip=True))
    num_linked = sum(len(link.get_text("", strip=True)) for link in links)
    return num_characters > 0 and num_linked / num_characters > MAX_LINK_TEXT_SHARE


def _write_markdown(body: Any) -> str:
    from markdownify import MarkdownConverter

    for link in body.find_all("a"):
        if ANCHOR_MARK.match(link.get_text()):
            link.decompose()  # the mark beside a heading that links to that heading
    for heading in body.find_all(HEADINGS):
        if not heading.get_text(strip=True):
            heading.decompose()
    converter = MarkdownConverter(
        heading_style="ATX",
        strip=["img", "a"],
        escape_underscores=False,
        escape_asterisks=False,
    )
    try:
        text: str = converter.convert_soup(body)
    except RecursionError as error:
        raise Unreadable(TOO_DEEP) from error
    return re.sub(r"\n{3,}", "\n\n", text)


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
