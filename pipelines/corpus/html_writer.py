"""Writes elements of an HTML page as Markdown: headings, lists, listings, links, powers."""

import re
from typing import Any

import markdownify

from pipelines.corpus.html_links import LINK_TARGETS, list_links
from pipelines.corpus.html_listings import join_listing_tables, split_listing_lines
from pipelines.corpus.html_tables import Cell, Table, format_cells, read_table, unfold
from pipelines.corpus.parts import TOO_DEEP, Unreadable

HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
ANCHOR_MARK = re.compile(r"^[¶#§🔗\s\u200b\uf0c1]*$")
INVISIBLE = str.maketrans({"\u00ad": "", "\u200b": "", "\ufeff": "", "\u00a0": " "})
ORDINALS = {"st", "nd", "rd", "th", "er", "ème", "tm", "®", "™", "©"}
SIMPLE_POWER = re.compile(r"[+\-−–]?\w+")
PICTURES = "pictures"


Converter: Any = markdownify.MarkdownConverter  # its types lack most of its methods


class Writer(Converter):  # type: ignore[misc]
    """Converts elements that the library lacks or writes with a loss."""

    def __init__(self) -> None:
        super().__init__(heading_style="ATX", escape_underscores=False, escape_asterisks=False)
        self.left_out: dict[str, int] = {PICTURES: 0}
        division = self.convert_div
        for name in DIVISIONS:
            setattr(self, f"convert_{name}", division)

    def convert_a(self, element: Any, text: str, parent_tags: set[str]) -> str:
        """The text of a link; its target is in the list at the end of the section."""
        return text

    def convert_img(self, element: Any, text: str, parent_tags: set[str]) -> str:
        """A formula or an emoji by its text; another picture is left out."""
        alternative = str(element.get("alt") or "")
        classes = " ".join(element.get("class") or [])
        if re.search(r"math|latex|tex\b|emoji|smiley", classes):
            return alternative
        self.left_out[PICTURES] += len(alternative)
        return ""

    def convert_math(self, element: Any, text: str, parent_tags: set[str]) -> str:
        """A formula as TeX if the page has it, else its characters."""
        source = element.find("annotation")
        if source is not None:
            return f"${source.get_text(strip=True)}$"
        return str(element.get("alttext") or text)

    def convert_sup(self, element: Any, text: str, parent_tags: set[str]) -> str:
        """`10<sup>6</sup>` is 10^6; a mark of a footnote and `1<sup>st</sup>` stay as they are."""
        words = text.strip()
        is_mark = element.find("a") is not None or words.startswith("[") or words.isspace()
        if not words or is_mark or words.lower() in ORDINALS:
            return text
        return f"^{words}" if SIMPLE_POWER.fullmatch(words) else f"^({words})"

    def convert_sub(self, element: Any, text: str, parent_tags: set[str]) -> str:
        """`H<sub>2</sub>O` is H2O, `x<sub>i</sub>` is x_i."""
        words = text.strip()
        if not words or words[0].isdigit():
            return text
        return f"_{words}" if words.isalnum() else f"_({words})"

    def convert_pre(self, element: Any, text: str, parent_tags: set[str]) -> str:
        """A fence that is longer than any in the listing; in a line, a code span."""
        listing = text.strip("\n").rstrip()
        listing = re.sub(r"\A[ \t]*\n", "", listing)
        if not listing:
            return ""
        if "_inline" in parent_tags:
            return f" `{listing.strip()}` "
        longest = max(map(len, re.findall("`{3,}", listing)), default=2)
        fence = "`" * (longest + 1)
        return f"\n\n{fence}\n{listing}\n{fence}\n\n"

    def convert_li(self, element: Any, text: str, parent_tags: set[str]) -> str:
        """An item of a list; inside a cell of a table, items are separated by semicolons."""
        if "_inline" in parent_tags:
            following = element.find_next_sibling("li")
            return f" {text.strip()}{';' if following else ''} "
        item: str = super().convert_li(element, text, parent_tags)
        return item

    def convert_label(self, element: Any, text: str, parent_tags: set[str]) -> str:
        """The label of a tab or a field, apart from the next one."""
        return f" {text.strip()} " if text.strip() else ""

    convert_button = convert_label

    def convert_summary(self, element: Any, text: str, parent_tags: set[str]) -> str:
        return f"\n\n**{text.strip()}**\n\n" if text.strip() else ""

    def convert_td(self, element: Any, text: str, parent_tags: set[str]) -> str:
        return text

    def convert_th(self, element: Any, text: str, parent_tags: set[str]) -> str:
        return text

    def convert_tr(self, element: Any, text: str, parent_tags: set[str]) -> str:
        return text

    def convert_finished(self, element: Any, text: str, parent_tags: set[str]) -> str:
        """A table whose Markdown is known already."""
        return f"\n\n{element['markdown']}\n\n"

    def cell_text(self, cell: Any) -> str:
        """What a cell of a table says, on one line."""
        text: str = self.process_tag(cell, parent_tags={"table", "tr"})
        return " ".join(text.split())


DIVISIONS = (
    "address", "aside", "center", "details", "dialog", "dir", "fieldset", "figcaption", "figure",
    "footer", "form", "header", "hgroup", "legend", "main", "menu", "nav", "caption", "search",
)  # fmt: skip


def write_markdown(body: Any) -> tuple[str, dict[str, int]]:
    """The element as Markdown, and the characters that were left out by kind."""
    _clean(body)
    writer = Writer()
    writer.left_out[LINK_TARGETS] = list_links(body)
    try:
        _write_tables(body, writer)
        text: str = writer.convert_soup(body)
    except RecursionError as error:
        raise Unreadable(TOO_DEEP) from error
    text = text.translate(INVISIBLE)
    return re.sub(r"\n{3,}", "\n\n", text), writer.left_out


def _clean(body: Any) -> None:
    """Remove marks beside headings and empty headings, and give listings their line breaks."""
    for link in body.find_all("a"):
        # The mark beside a heading that links to that heading.
        if ANCHOR_MARK.match(link.get_text()) and link.find("img") is None:
            link.decompose()
    for heading in body.find_all(HEADINGS):
        if not heading.get_text(strip=True) and heading.find("img") is None:
            heading.decompose()
    for box in body.find_all("input", attrs={"type": "checkbox"}):
        box.replace_with("[x] " if box.has_attr("checked") else "[ ] ")
    join_listing_tables(body)
    for listing in body.find_all("pre"):
        split_listing_lines(listing)


def _write_tables(body: Any, writer: Writer) -> None:
    """Replace each table by its Markdown or, if that cannot hold it, by its cells in order."""
    for element in reversed(body.find_all("table")):
        table = read_table(element)
        if table.is_layout or table.has_blocks:
            element.replace_with(unfold(table, writer.cell_text))
            continue
        replacement = _new_element("finished")
        replacement["markdown"] = _format_table(table, writer)
        element.replace_with(replacement)


def _format_table(table: Table, writer: Writer) -> str:
    texts: dict[int, str] = {}

    def text_of(cell: Cell) -> str:
        """Each cell is written once, however many columns and rows it spans."""
        if id(cell.element) not in texts:
            texts[id(cell.element)] = writer.cell_text(cell.element)
        return texts[id(cell.element)]

    rows = format_cells(table, text_of)
    captions = (writer.cell_text(caption) for caption in table.captions)
    return "\n\n".join(filter(None, [*captions, rows]))


def _new_element(name: str) -> Any:
    from bs4 import BeautifulSoup

    return BeautifulSoup("", "lxml").new_tag(name)
