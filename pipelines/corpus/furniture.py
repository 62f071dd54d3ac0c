"""Tells the furniture of a page (menus, footers, notices, forms) from its content."""

import re
from typing import Any, NamedTuple

NAVIGATION = "navigation"
FOOTERS = "heads and footers"
NOTICES = "notices and sharing"
COMMENTS = "readers' comments"
ROLES = {
    "navigation": NAVIGATION, "menu": NAVIGATION, "menubar": NAVIGATION, "search": NAVIGATION,
    "banner": FOOTERS, "contentinfo": FOOTERS, "complementary": FOOTERS, "dialog": NOTICES,
    "alertdialog": NOTICES, "doc-toc": NAVIGATION,
}  # fmt: skip
# Names that say what an element is if they are its first or last word: `nav-links`, `page-footer`.
NAMES = {
    **dict.fromkeys(
        (
            "nav", "navbar", "navigation", "navigator", "breadcrumb", "breadcrumbs", "crumbs",
            "sidebar", "sidenav", "toc", "tableofcontents", "toplang", "bottomlang", "quickview",
            "skip", "skiplink", "menu", "menubar", "pager", "pagination", "paginator",
            "prevnext", "related", "topnav", "subnav", "leftnav", "rightnav", "pagenav",
        ),
        NAVIGATION,
    ),
    **dict.fromkeys(
        ("footer", "colophon", "masthead", "topbar", "copyright", "header", "byline", "edit"),
        FOOTERS,
    ),
    **dict.fromkeys(
        (
            "cookie", "cookies", "consent", "gdpr", "share", "sharing", "social", "newsletter",
            "subscribe", "subscription", "ads", "advert", "advertisement", "sponsor", "sponsors",
            "promo", "popup", "modal", "toast", "feedback", "rating", "announcement",
            "headerlink", "anchorlink", "toolbar", "tooltip",
        ),
        NOTICES,
    ),
    **dict.fromkeys(("comments", "comment", "disqus", "respond", "giscus"), COMMENTS),
}  # fmt: skip
# Of these, only the whole name counts, or it is prose often enough: `post-comment-form`.
PAGE_HEAD_NAMES = {"header", "masthead", "banner", "topbar"}
# `has-sidebar`, `with-toc`, `no-footer` tell of something else.
CONDITIONS = {"has", "with", "no", "without", "is", "hide", "show", "not"}
NAMED_ELEMENTS = (
    "div", "p", "ul", "ol", "table", "section", "dl", "td", "header", "aside", "span", "details",
    "a", "li", "tr", "h2", "h3", "h4",
)  # fmt: skip
NOTE_NAMES = {"note", "admonition", "topic", "footnote", "footnotes", "warning", "tip", "callout"}
HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
MAX_LINK_TEXT_SHARE = 0.6
MIN_MENU_LINKS = 3
MIN_PROSE_SHARE = 0.3  # of the page's prose: an element with more is content whatever its name
MIN_PROSE_CHARACTERS = 150  # outside of links; with more, a menu is no menu
INTRODUCTIONS = ("p", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "div", "blockquote")


class Furniture(NamedTuple):
    """What must be known of the whole page to judge one element."""

    num_prose_characters: int
    has_headline_in_content: bool


def describe_furniture(element: Any, page: Furniture) -> str | None:
    """The kind of furniture that an element is; None for content."""
    role = ROLES.get(str(element.get("role", "")).lower())
    if role and not _is_most_of_page(element, page):
        return role
    if element.name == "nav":
        return NAVIGATION
    if element.name == "footer":
        return None if _belongs_to_text(element) else FOOTERS
    if element.name == "aside":
        return _describe_aside(element, page)
    kind = _describe_by_name(element, page)
    if kind is not None:
        return kind
    return _describe_page_head(element, page)


def _belongs_to_text(footer: Any) -> bool:
    """Whether a footer names the source of a quotation, or holds the notes of an article."""
    if footer.find_parent(["blockquote", "figure"]) is not None:
        return True
    return bool(NOTE_NAMES & set(_words(footer)))


def _describe_aside(element: Any, page: Furniture) -> str | None:
    """A note between paragraphs is content; a column beside the text is not."""
    words = set(_words(element))
    if words & NOTE_NAMES or str(element.get("role", "")).startswith(("doc-", "note")):
        return None
    if _is_mostly_links(element):
        return NAVIGATION
    if element.find(class_="sidebar-title") is not None:
        return None
    if _describe_by_name(element, page) is not None:
        return NAVIGATION
    stands_in_text = element.parent.find(["p", *HEADINGS], recursive=False) is not None
    return None if stands_in_text else NAVIGATION


def _describe_by_name(element: Any, page: Furniture) -> str | None:
    """The kind that class and id name, unless what the element holds speaks against it."""
    if element.name not in NAMED_ELEMENTS:
        return None
    kind = _named_kind(element)
    if kind is None or _is_titled_by_its_id(element) or _is_most_of_page(element, page):
        return None
    if element.find("h1") is not None or element.name in HEADINGS:
        return None
    if element.get("role") == "tablist" or element.find(class_="sidebar-title") is not None:
        return None
    if kind in (NAVIGATION, NOTICES) and _has_prose(element):
        return kind if _is_exact(element) else None
    return kind


def _named_kind(element: Any) -> str | None:
    for name in _names(element):
        words = name.split("-")
        if CONDITIONS & set(words[:1]) or CONDITIONS & {"has", "with", "no"} & set(words):
            continue
        kind = NAMES.get(words[-1]) or NAMES.get(words[0])
        if words[-1] in PAGE_HEAD_NAMES or (words[0] in PAGE_HEAD_NAMES and len(words) > 1):
            continue
        if kind:
            return kind
    return None


def _is_exact(element: Any) -> bool:
    """Whether a name is one word, as in `class="sidebar"`."""
    return any(NAMES.get(name) for name in _names(element))


def _names(element: Any) -> list[str]:
    """Id and classes in lower case, their words joined by hyphens; `siteFooter` has two."""
    classes: Any = element.get("class") or []
    names = [str(element.get("id") or "")]
    names += classes.split() if isinstance(classes, str) else classes
    return [_hyphenate(name) for name in names if name]


def _hyphenate(name: str) -> str:
    with_hyphens = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name)
    return re.sub(r"[\W_]+", "-", with_hyphens).strip("-").lower()


def _words(element: Any) -> list[str]:
    return "-".join(_names(element)).split("-")


def _is_titled_by_its_id(element: Any) -> bool:
    """Whether the id is made of the heading, as in <section id="share"><h2>Share</h2>."""
    identifier = re.sub(r"-\d+$", "", _hyphenate(str(element.get("id") or "")))
    heading = element.find(HEADINGS)
    if not identifier or heading is None:
        return False
    title = _hyphenate(heading.get_text(" ", strip=True).strip("¶# "))
    return title == identifier or title.startswith(f"{identifier}-") or identifier in title


def _is_most_of_page(element: Any, page: Furniture) -> bool:
    if page.num_prose_characters == 0:
        return False
    return _count_prose(element) / page.num_prose_characters > MIN_PROSE_SHARE


def _has_prose(element: Any) -> bool:
    return _count_prose(element) > MIN_PROSE_CHARACTERS


def _describe_page_head(element: Any, page: Furniture) -> str | None:
    """A page head is furniture unless it holds the page's first heading."""
    is_head = element.name == "header"
    if element.name == "div":
        is_head = any(name.split("-")[-1] in PAGE_HEAD_NAMES for name in _names(element))
    if not is_head or _is_most_of_page(element, page):
        return None
    is_inside = element.find_parent(["main", "article"]) is not None
    if is_inside:
        return None if element.find(HEADINGS) is not None else FOOTERS
    headline = element.find("h1")
    if headline is None or page.has_headline_in_content and element.name == "header":
        return FOOTERS
    return None


def _count_prose(element: Any) -> int:
    """Characters that are not in links."""
    linked = (len(link.get_text("", strip=True)) for link in element.find_all("a"))
    return len(element.get_text("", strip=True)) - sum(linked)


def _is_mostly_links(element: Any) -> bool:
    num_characters = len(element.get_text("", strip=True))
    if not num_characters:
        return False
    return 1 - _count_prose(element) / num_characters > MAX_LINK_TEXT_SHARE


def is_menu(element: Any, is_explicit: bool, kept_lists: set[int]) -> bool:
    """Whether an element is a menu, a table of contents, a list of languages.

    Most of its text is link text, and it is not a list or table that the text introduces. Those
    are added to `kept_lists`, by which their parents stay too.
    """
    links = element.find_all("a")
    if len(links) < MIN_MENU_LINKS or element.find(["h1", "h2", "pre", "code"]):
        return False
    if not _is_mostly_links(element):
        return False
    if any(id(inner) in kept_lists for inner in element.find_all(True)):
        return False
    if _is_list(element) and (is_explicit or _follows_headline(element)) and _is_introduced(element):
        kept_lists.add(id(element))
        return False
    return True


def _is_list(element: Any) -> bool:
    """Whether it has several items or rows, one below the other."""
    items = {"table": "tr", "ul": "li", "ol": "li", "dl": "dt"}.get(element.name)
    return items is not None and len(element.find_all(items, limit=2)) > 1


def _follows_headline(element: Any) -> bool:
    return element.find_previous("h1") is not None


def _is_introduced(element: Any) -> bool:
    """Whether a heading or a paragraph stands before it, in its parent or in one around it."""
    while element is not None and element.name not in ("body", "main", "article", "[document]"):
        before = element.find_previous_sibling(True)
        if before is not None:
            return before.name in INTRODUCTIONS and bool(before.get_text(strip=True))
        element = element.parent
    return False
