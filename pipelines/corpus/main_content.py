"""Finds the main content of an HTML page and removes what surrounds it.

What is removed is told by its element, its role, its names (class and id) and its share of link
text (Kohlschütter et al. 2010, "Boilerplate detection using shallow text features"). Names alone
never remove prose: a section may be called `share-a-dataset`, and a page `has-sidebar`.
"""

import re
from collections import Counter
from typing import Any

from pipelines.corpus.furniture import Page, describe_furniture, is_link_list, is_menu
from pipelines.corpus.parts import TOO_DEEP, Unreadable
from pipelines.corpus.text_counts import TextCounts, is_removed

MAX_DEPTH = 200  # nested elements; real pages have tens
MIN_CONTENT_CHARACTERS = 40
NEVER_TEXT = ["script", "style", "template", "svg", "iframe", "object", "head", "noscript"]
CONTROLS = ["button", "select", "textarea", "datalist", "output", "progress", "meter"]
LISTS_AND_TABLES = ("table", "ul", "ol", "dl")
BLOCKS = ["div", "p", "section", "td", *LISTS_AND_TABLES]
HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
MIN_FORM_SHARE = 0.3  # of the page's text, from which on a form encloses the page
MIN_MAIN_SHARE = 0.4  # of the page's text in <main> or <article>; below, it is not the content
MIN_NAMED_SHARE = 0.6  # the same for a <div> that is called `content`
CONTENT_NAMES = re.compile(
    r"^(?:(?:main|page|article|post|entry|doc|docs|body|region|site)[-_]?)?"
    r"(?:content|body|text|document|main)(?:[-_]?(?:area|text|wrapper|inner|body|container))?$|"
    r"^(?:markdown-body|mw-parser-output|rst-content|theme-doc-markdown|article|post|docbook|"
    r"main-content|bodycontent|mw-content-text|firstheading)$"
)

Losses = Counter[str]


def extract_content(soup: Any) -> tuple[Any, Losses]:
    """The element that holds the page's content, without the rest; characters removed, by kind.

    A page that consists of links alone keeps them.
    """
    if _measure_depth(soup) > MAX_DEPTH:
        raise Unreadable(TOO_DEEP)
    losses: Losses = Counter()
    body = soup.body or soup
    counts = TextCounts(body)
    _remove_never_text(body, counts, losses)
    _open_forms(body, counts, losses)
    _remove_furniture(body, counts, losses)
    content = _choose_root(body, counts)
    losses["outside the main content"] += counts.total(body) - counts.total(content)
    content_with_menus = str(content) if counts.total(content) else ""
    menu_losses = _remove_menus(content, counts, is_explicit=content is not body)
    if content_with_menus and counts.total(content) < MIN_CONTENT_CHARACTERS:
        return _parse_again(content_with_menus), losses
    return content, losses + menu_losses


def _parse_again(html: str) -> Any:
    from bs4 import BeautifulSoup

    return BeautifulSoup(html, "lxml")


def _measure_depth(soup: Any) -> int:
    """How deeply elements are nested."""
    depths = {id(soup): 0}
    for element in soup.find_all(True):
        depths[id(element)] = depths[id(element.parent)] + 1
    return max(depths.values())


def _remove(element: Any, kind: str, counts: TextCounts, losses: Losses) -> None:
    losses[kind] += counts.remove(element)


def _remove_never_text(body: Any, counts: TextCounts, losses: Losses) -> None:
    """Remove scripts and the like; a control stays if it names what is below it."""
    for element in body.find_all(NEVER_TEXT):
        if not is_removed(element):
            losses["scripts and styles"] += len(element.get_text())
            counts.remove(element)
    for element in body.find_all(attrs={"aria-hidden": "true"}):
        if not is_removed(element) and element.name in ("a", "span", "i", "button"):
            _remove(element, "hidden marks", counts, losses)
    for element in body.find_all(CONTROLS):
        if is_removed(element) or _names_what_follows(element, counts):
            continue
        if element.find(BLOCKS) is not None:
            element.name = "div"  # a box that opens on a click
            continue
        _remove(element, "forms and buttons", counts, losses)


def _names_what_follows(control: Any, counts: TextCounts) -> bool:
    """Whether a button is a heading that opens its section, or the tab of a panel."""
    if control.name != "button":
        return False
    heading = control.find_parent([*HEADINGS, "dt", "summary"])
    is_heading = heading is not None and counts.total(heading) == counts.total(control)
    return is_heading or control.get("role") == "tab"


def _open_forms(body: Any, counts: TextCounts, losses: Losses) -> None:
    """Remove each form but one that encloses the page, as those of ASP.NET do."""
    num_characters = counts.total(body) or 1
    for form in body.find_all("form"):
        if is_removed(form):
            continue
        encloses = form.find(["h1", "h2", "main", "article"]) is not None
        if encloses or counts.total(form) / num_characters > MIN_FORM_SHARE:
            form.name = "div"
        else:
            _remove(form, "forms and buttons", counts, losses)


def _remove_furniture(body: Any, counts: TextCounts, losses: Losses) -> None:
    page = Page(counts, counts.prose(body))
    for element in body.find_all(True):
        # An element inside one that was removed is gone already.
        if is_removed(element) or element is body:
            continue
        kind = describe_furniture(element, page)
        if kind:
            _remove(element, kind, counts, losses)


def _choose_root(body: Any, counts: TextCounts) -> Any:
    """The innermost element that is marked as the content and holds most of the page's text."""
    root = body
    for find in (_find_main, _find_articles, _find_named):
        candidate, min_share = find(root, counts)
        if candidate is None or not _holds_headline(candidate, root):
            continue
        if counts.prose(candidate) >= min_share * max(1, counts.prose(root)):
            root = candidate
    return root


def _holds_headline(candidate: Any, root: Any) -> bool:
    headline = root.find("h1")
    return headline is None or candidate.find("h1") is not None


def _find_main(root: Any, counts: TextCounts) -> tuple[Any, float]:
    candidates = [*root.find_all("main"), *root.find_all(attrs={"role": "main"})]
    return max(candidates, key=counts.total, default=None), MIN_MAIN_SHARE


def _find_articles(root: Any, counts: TextCounts) -> tuple[Any, float]:
    """The article, or the element that holds all of them."""
    articles = root.find_all("article")
    if not articles:
        return None, MIN_MAIN_SHARE
    largest = max(articles, key=counts.prose)
    rest = sum(map(counts.prose, articles)) - counts.prose(largest)
    if rest > MIN_MAIN_SHARE * counts.prose(largest):
        return _common_parent(articles), MIN_MAIN_SHARE
    return largest, MIN_NAMED_SHARE


def _common_parent(elements: list[Any]) -> Any:
    parent = elements[0].parent
    while not all(_is_inside(element, parent) for element in elements):
        parent = parent.parent
    return parent


def _is_inside(element: Any, parent: Any) -> bool:
    return any(above is parent for above in element.parents)


def _find_named(root: Any, counts: TextCounts) -> tuple[Any, float]:
    """The innermost <div> with a name such as `content` that holds enough of the text."""
    best = None
    for element in root.find_all(["div", "section", "td"]):
        if counts.prose(element) < MIN_NAMED_SHARE * max(1, counts.prose(root)):
            continue
        names = [str(element.get("id") or ""), *(element.get("class") or [])]
        is_named = any(CONTENT_NAMES.match(name.lower()) for name in names)
        if is_named and _holds_headline(element, root):
            best = element
    return best, MIN_NAMED_SHARE


def _remove_menus(content: Any, counts: TextCounts, is_explicit: bool) -> Losses:
    """Remove menus, and lists and tables without text. Inner elements go first."""
    losses: Losses = Counter()
    content_lists: set[int] = set()  # lists of links that are content, and what they are in
    for element in reversed(content.find_all(BLOCKS)):
        if is_removed(element) or id(element) in content_lists:
            continue
        if element.name in LISTS_AND_TABLES and not counts.total(element):
            if element.find("img") is None:
                counts.remove(element)
        elif is_menu(element, counts, is_explicit):
            _remove(element, "navigation", counts, losses)
        elif element.name in LISTS_AND_TABLES and is_link_list(element, counts):
            content_lists.update(map(id, element.parents))
    return losses
