"""Tells the furniture of a page (menus, footers, notices, forms) from its content."""

import re
from typing import Any, NamedTuple

from pipelines.corpus.text_counts import TextCounts

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
            "prevnext", "related", "relatives", "topnav", "subnav", "leftnav", "rightnav",
            "pagenav", "navheader", "navfooter", "navpath", "jump", "noprint", "catlinks",
        ),
        NAVIGATION,
    ),
    **dict.fromkeys(
        (
            "footer", "printfooter", "colophon", "masthead", "topbar", "copyright", "header",
            "byline", "edit", "editsection",
        ),
        FOOTERS,
    ),
    **dict.fromkeys(
        (
            "cookie", "cookies", "consent", "gdpr", "share", "sharing", "social", "newsletter",
            "subscribe", "subscription", "ads", "advert", "advertisement", "sponsor", "sponsors",
            "promo", "popup", "modal", "toast", "feedback", "rating", "announcement",
            "headerlink", "anchorlink", "toolbar", "tooltip", "votes", "likes", "votecell",
        ),
        NOTICES,
    ),
    **dict.fromkeys(("comments", "comment", "disqus", "respond", "giscus"), COMMENTS),
}  # fmt: skip
# Names of what is not printed, or only read aloud.
UNPRINTED_NAMES = {
    "d-print-none", "no-print", "noprint", "hidden-print", "print-hidden", "visually-hidden",
    "sr-only", "screen-reader-text", "a11y", "skip-link",
}  # fmt: skip
HIDDEN = "hidden marks"
# What a theme puts before a name, and what it puts after it.
PREFIXES = {"mw", "wp", "md", "td", "bd", "vp", "wy", "pst", "theme", "js", "site", "page"}
SUFFIXES = {"link", "links", "list", "container", "wrapper", "inner", "area", "section", "box"}
# Short lines that say what the site is, not what the page says.
FURNITURE_TEXT = re.compile(
    r"(?i)(?:was this (?:page|article|section|topic)?\s*helpful|did you find this|"
    r"last (?:updated?|modified|edited|reviewed)\b|this page was last|edit (?:this page|on git)|"
    r"(?:proudly )?powered by |built with |made with |back to top$|skip to |created by .* last )"
)
MAX_FURNITURE_TEXT = 120
WORD = re.compile(r"[^\W\d_]{2}")
MIN_MARK_CHARACTERS = 2  # a shorter part of a line is a mark, such as that of a link to a heading
SITE_WORDS = {"site", "page", "main", "global", "mobile", "top", "app"}
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


class Page(NamedTuple):
    """What must be known of the whole page to judge one element."""

    counts: TextCounts
    num_prose_characters: int


def describe_furniture(element: Any, page: Page) -> str | None:
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
    kind = _describe_by_name(element, page) or _describe_by_text(element, page)
    return kind or _describe_page_head(element, page)


def _describe_by_text(element: Any, page: Page) -> str | None:
    """The kind of a short line such as "Last updated on ..."."""
    if element.name not in ("p", "div", "li", "small", "h2", "h3", "h4", "address", "details"):
        return None
    if not 0 < page.counts.total(element) < MAX_FURNITURE_TEXT or element.find_parent("pre"):
        return None
    text = element.get_text(" ", strip=True)
    return FOOTERS if FURNITURE_TEXT.match(text) else None


def _belongs_to_text(footer: Any) -> bool:
    """Whether a footer names the source of a quotation, or holds the notes of an article."""
    if footer.find_parent(["blockquote", "figure"]) is not None:
        return True
    return bool(NOTE_NAMES & set(_words(footer)))


def _describe_aside(element: Any, page: Page) -> str | None:
    """A note between paragraphs is content; a column beside the text is not."""
    words = set(_words(element))
    if words & NOTE_NAMES or str(element.get("role", "")).startswith(("doc-", "note")):
        return None
    if page.counts.link_share(element) > MAX_LINK_TEXT_SHARE:
        return NAVIGATION
    if element.find(class_="sidebar-title") is not None:
        return None
    if _describe_by_name(element, page) is not None:
        return NAVIGATION
    stands_in_text = element.parent.find(["p", *HEADINGS], recursive=False) is not None
    return None if stands_in_text else NAVIGATION


def _describe_by_name(element: Any, page: Page) -> str | None:
    """The kind that class and id name, unless what the element holds speaks against it."""
    if element.name not in NAMED_ELEMENTS or _is_part_of_line(element, page):
        return None
    if set(_names(element)) & UNPRINTED_NAMES and not _has_prose(element, page):
        return HIDDEN
    kind = _kind_of_names(_class_names(element))
    if kind is None:
        kind = _kind_of_names(_id_names(element))
        if kind is not None and _is_titled_by_its_id(element):
            return None
    return None if kind is None or _holds_content(element, kind, page) else kind


def _is_part_of_line(element: Any, page: Page) -> bool:
    """Whether an element stands among the words of a paragraph: `Open <span class="menu">...`."""
    if element.name != "span" or element.parent.name not in ("p", "dd", "blockquote"):
        return False
    return page.counts.total(element.parent) > page.counts.total(element) > MIN_MARK_CHARACTERS


def _holds_content(element: Any, kind: str, page: Page) -> bool:
    """Whether an element is content though it is called furniture."""
    if _is_most_of_page(element, page) or element.name in HEADINGS:
        return True
    if element.get("role") == "tablist" or element.find("h1") is not None:
        return True
    if element.find(class_="sidebar-title") is not None:
        return True
    if element.name == "table" and element.find("th") is not None:
        return True
    is_prose = kind in (NAVIGATION, NOTICES) and _has_prose(element, page)
    return is_prose and not _is_exact(element)


def _kind_of_names(names: list[str]) -> str | None:
    """The kind that the first or the last word of a name says, but for its theme's affixes."""
    for name in names:
        words = name.split("-")
        if {"has", "with", "no"} & set(words) or words[0] in CONDITIONS or words[-1] == "title":
            continue
        if words[-1] in PAGE_HEAD_NAMES:  # a head is judged by what it holds, a notice is not
            if NAMES.get(words[0]) == NOTICES:
                return NOTICES
            continue
        while len(words) > 1 and words[0] in PREFIXES:
            words = words[1:]
        while len(words) > 1 and words[-1] in SUFFIXES:
            words = words[:-1]
        if words[-1] in PAGE_HEAD_NAMES or (words[0] in PAGE_HEAD_NAMES and len(words) > 1):
            continue
        kind = NAMES.get(words[-1]) or NAMES.get(words[0])
        if kind:
            return kind
    return None


def _is_exact(element: Any) -> bool:
    """Whether a name is one word, as in `class="sidebar"`."""
    return any(NAMES.get(name) for name in _names(element))


def _names(element: Any) -> list[str]:
    """Id and classes in lower case, their words joined by hyphens; `siteFooter` has two."""
    return [*_id_names(element), *_class_names(element)]


def _id_names(element: Any) -> list[str]:
    identifier = _hyphenate(str(element.get("id") or ""))
    return [identifier] if identifier else []


def _class_names(element: Any) -> list[str]:
    classes: Any = element.get("class") or []
    names = classes.split() if isinstance(classes, str) else classes
    return list(filter(None, map(_hyphenate, names)))


def _hyphenate(name: str) -> str:
    with_hyphens = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name)
    return re.sub(r"[\W_]+", "-", with_hyphens).strip("-").lower()


def _words(element: Any) -> list[str]:
    return "-".join(_names(element)).split("-")


def _is_titled_by_its_id(element: Any) -> bool:
    """Whether the id is made of the heading, as in <section id="share"><h2>Share</h2>."""
    if element.name == "section" and element.find(HEADINGS) is not None:
        return True
    identifier = re.sub(r"-\d+$", "", _hyphenate(str(element.get("id") or "")))
    heading = element.find(HEADINGS)
    if not identifier or heading is None:
        return False
    title = _hyphenate(heading.get_text(" ", strip=True).strip("¶# "))
    return title == identifier or title.startswith(f"{identifier}-")


def _is_most_of_page(element: Any, page: Page) -> bool:
    if page.num_prose_characters == 0:
        return False
    return page.counts.prose(element) / page.num_prose_characters > MIN_PROSE_SHARE


def _has_prose(element: Any, page: Page) -> bool:
    return page.counts.prose(element) > MIN_PROSE_CHARACTERS


def _describe_page_head(element: Any, page: Page) -> str | None:
    """A page head is furniture unless it holds the page's first heading."""
    is_head = element.name == "header" or (element.name == "div" and _is_named_head(element))
    if not is_head or _is_most_of_page(element, page):
        return None
    if element.find_parent(["main", "article"]) is not None:
        return None if element.find(HEADINGS) is not None else FOOTERS
    if element.find(class_="headertitle") is not None:  # Doxygen's
        return None
    headline = element.find("h1")
    return FOOTERS if headline is None or _is_logo(headline, page) else None


def _is_named_head(element: Any) -> bool:
    """Whether a <div> is called the head of a page, unlike `table-header` or `callout-header`."""
    for name in _names(element):
        words = name.split("-")
        if words[-1] in PAGE_HEAD_NAMES and (len(words) == 1 or words[0] in SITE_WORDS):
            return True
    return False


def _is_logo(headline: Any, page: Page) -> bool:
    """Whether a heading is the site's name: a link, with other headings of level 1 after it."""
    is_link = page.counts.link_share(headline) > MAX_LINK_TEXT_SHARE
    return is_link and headline.find_next("h1") is not None


def is_menu(element: Any, counts: TextCounts, is_explicit: bool) -> bool:
    """Whether an element is a menu, a table of contents, a list of languages.

    Most of its text is link text, and it is not a list or table that the text introduces.
    `is_explicit`: the page itself marks the content that the element is in.
    """
    if not is_link_list(element, counts) or element.find(["h1", "h2", "pre", "code"]):
        return False
    targets = [str(link.get("href") or "#") for link in element.find_all("a")]
    if all(target.startswith("#") for target in targets):
        return True  # a table of contents of this page
    if not (is_explicit or _follows_headline(element)):
        return True
    if element.name == "p":
        return not _has_words_between_links(element)
    return not _is_list(element) or not _is_introduced(element)


def _has_words_between_links(paragraph: Any) -> bool:
    """Whether a paragraph is a sentence such as "See A, B and C", rather than `A | B | C`."""
    for text in paragraph.find_all(string=True):
        if WORD.search(text) and text.find_parent("a") is None:
            return True
    return False


def is_link_list(element: Any, counts: TextCounts) -> bool:
    """Whether an element is made of links."""
    if counts.link_share(element) <= MAX_LINK_TEXT_SHARE:
        return False
    return len(element.find_all("a", limit=MIN_MENU_LINKS)) == MIN_MENU_LINKS


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
