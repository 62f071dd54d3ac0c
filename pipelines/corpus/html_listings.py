"""Gives listings of HTML pages back their lines, whichever way a page numbers and breaks them."""

import re
from typing import Any

# Names of classes with which highlighters mark a listing that is a table, and its numbers.
LISTING_CLASS = re.compile(
    r"highlight|syntax|code|listing|rouge|lntable|hljs|blob|linenos|prettyprint|source", re.I
)
NUMBER_CLASS = re.compile(
    r"(?:^|[-_ ])(?:linenos?|line-?numbers?|lineno|gutter|gl|lnt?|blob-num|hljs-ln-(?:numbers|n)|"
    r"linenodiv)(?:$|[-_ ])",
    re.I,
)
NUMBERS = re.compile(r"[\d\s.:]*")
LINE_ELEMENTS = ["div", "li", "p", "tr"]
FRAMES_OF_LINES = ["ol", "ul", "table", "tbody"]


def join_listing_tables(body: Any) -> None:
    """Replace each table that is a listing with line numbers by the listing alone."""
    for table in body.find_all("table"):
        if table.find("table") or not _is_listing(table):
            continue
        lines = [text for row in table.find_all("tr") for text in _code_texts(row)]
        code = "\n".join(text.strip("\n") for text in lines)
        listing = _listing(code)
        # The highlighters' own frame: a <pre> around the table would be a listing in a listing.
        frame = table.find_parent("pre")
        (frame or table).replace_with(listing)


def _is_listing(table: Any) -> bool:
    """Whether a column is of line numbers and the table or its cells are marked as code."""
    has_numbers = any(map(_is_number_cell, table.find_all(["td", "th"])))
    if not has_numbers:
        return False
    classes = [_classes(element) for element in (table, *table.find_all(["td", "code", "pre"]))]
    has_code = table.find(["pre", "code"]) is not None
    return has_code or any(map(LISTING_CLASS.search, classes))


def _is_number_cell(cell: Any) -> bool:
    """Whether a cell holds line numbers; one that is empty does so by its class."""
    if not NUMBERS.fullmatch(cell.get_text()):
        return False
    inner = cell.find(class_=NUMBER_CLASS)
    if (
        NUMBER_CLASS.search(_classes(cell))
        or inner is not None
        or cell.has_attr("data-line-number")
    ):
        return True
    return cell.find("pre") is not None


def _classes(element: Any) -> str:
    return " ".join(element.get("class") or [])


def _code_texts(row: Any) -> list[str]:
    """The text of the row's cells that are not line numbers."""
    texts = []
    for cell in row.find_all(["td", "th"]):
        if not _is_number_cell(cell):
            split_listing_lines(cell)
            texts.append(cell.get_text())
    return texts


def _listing(code: str) -> Any:
    from bs4 import BeautifulSoup

    listing = BeautifulSoup("", "lxml").new_tag("pre")
    listing.string = code
    return listing


def split_listing_lines(listing: Any) -> None:
    """Make a line break of each <br> and each element that is a line; drop line numbers."""
    for line_break in listing.find_all("br"):
        line_break.replace_with("\n")
    for number in listing.find_all(["span", "td", "a"], class_=NUMBER_CLASS):
        if NUMBERS.fullmatch(number.get_text()):
            number.decompose()
    lines = listing.find_all(LINE_ELEMENTS)
    for line in lines:
        following = line.next_sibling
        breaks = following is None or str(following).startswith("\n")
        if not breaks and not line.get_text().endswith("\n"):
            line.append("\n")
    for frame in (*lines, *listing.find_all(FRAMES_OF_LINES)):
        frame.unwrap()
