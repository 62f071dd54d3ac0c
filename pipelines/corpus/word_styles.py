"""Word's styles and numbering: which paragraphs are headings, which are items and how labelled."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipelines.corpus.ooxml import Package, attribute, child, name_of

MAX_ANCESTORS = 20  # of a style; a damaged file may have a circle
BODY_LEVEL = 9  # an outline level that makes no heading
ROMAN = (
    (1000, "m"),
    (900, "cm"),
    (500, "d"),
    (400, "cd"),
    (100, "c"),
    (90, "xc"),
    (50, "l"),
    (40, "xl"),
    (10, "x"),
    (9, "ix"),
    (5, "v"),
    (4, "iv"),
    (1, "i"),
)
MAX_ROMAN = 3999


class Style(NamedTuple):
    """A paragraph style."""

    name: str
    parent: str | None
    outline_level: int | None
    number_id: str | None
    depth: int | None  # level within the numbering


class Level(NamedTuple):
    """How one level of a numbering writes its labels: `%1.%2.` stands for its counters."""

    form: str
    pattern: str
    start: int
    style: str | None  # paragraphs of this style are on this level


@dataclass
class Numbering:
    """Lists by number id, and how far each has been counted."""

    lists: dict[str, str] = field(default_factory=dict)  # number id -> abstract id
    levels: dict[str, dict[int, Level]] = field(default_factory=dict)  # abstract id -> depth
    starts: dict[tuple[str, int], int] = field(default_factory=dict)  # (number id, depth)
    counters: dict[str, dict[int, int]] = field(default_factory=dict)  # abstract id -> depth

    def label(self, number_id: str, depth: int) -> str | None:
        """The label of the next item, counted on; None if the paragraph is no item."""
        abstract_id = self.lists.get(number_id, "")
        level = self.levels.get(abstract_id, {}).get(depth)
        if level is None:
            return None
        counters = self.counters.setdefault(abstract_id, {})
        start = self.starts.pop((number_id, depth), None)
        if start is not None:
            counters[depth] = start - 1
        counters[depth] = counters.get(depth, level.start - 1) + 1
        for deeper in [key for key in counters if key > depth]:
            del counters[deeper]
        if level.form == "none":
            return None
        if level.form == "bullet":
            return "-"
        return re.sub(
            r"%(\d)", lambda match: self._count(abstract_id, int(match[1]) - 1), level.pattern
        )

    def _count(self, abstract_id: str, depth: int) -> str:
        level = self.levels[abstract_id].get(depth)
        if level is None:
            return ""
        number = self.counters[abstract_id].get(depth, level.start)
        return format_number(number, level.form)

    def depth_of(self, number_id: str, style: str) -> int:
        """The level on which paragraphs of a style are; 0 if it names none."""
        levels = self.levels.get(self.lists.get(number_id, ""), {})
        return next((depth for depth, level in levels.items() if level.style == style), 0)


def format_number(number: int, form: str) -> str:
    """A counter as Word writes it; forms of other scripts come out as decimal numbers."""
    if form in ("lowerLetter", "upperLetter") and number > 0:
        repetitions, index = divmod(number - 1, 26)
        letters = chr(ord("a") + index) * (repetitions + 1)
        return letters.upper() if form == "upperLetter" else letters
    if form in ("lowerRoman", "upperRoman") and 0 < number <= MAX_ROMAN:
        numerals = ""
        for value, numeral in ROMAN:
            numerals += numeral * (number // value)
            number %= value
        return numerals.upper() if form == "upperRoman" else numerals
    return f"{number:02}" if form == "decimalZero" else str(number)


def read_styles(package: Package, path: str) -> dict[str, Style]:
    """The styles of a document by their ids. A style without a name goes by its id."""
    styles = {}
    for styles_path in package.parts_of_kind(path, "styles"):
        for element in package.parse(styles_path):
            key = attribute(element, "styleId")
            if name_of(element) != "style" or key is None:
                continue
            properties = child(element, "pPr")
            styles[key] = Style(
                name=attribute(child(element, "name"), "val") or key,
                parent=attribute(child(element, "basedOn"), "val"),
                outline_level=_number(child(properties, "outlineLvl")),
                number_id=attribute(child(properties, "numPr", "numId"), "val"),
                depth=_number(child(properties, "numPr", "ilvl")),
            )
    return styles


def ancestry(styles: dict[str, Style], key: str | None) -> Iterator[tuple[str, Style]]:
    """A style and those that it is based on, with their ids."""
    for _ in range(MAX_ANCESTORS):
        if key is None or key not in styles:
            return
        yield key, styles[key]
        key = styles[key].parent


def heading_level(styles: dict[str, Style], properties: Any) -> int | None:
    """The level of a heading, 1 to 9; None for another paragraph."""
    direct_level = _number(child(properties, "outlineLvl"))
    if direct_level is not None:
        return direct_level + 1 if direct_level < BODY_LEVEL else None
    for _, style in ancestry(styles, attribute(child(properties, "pStyle"), "val")):
        if style.outline_level is not None:
            return style.outline_level + 1 if style.outline_level < BODY_LEVEL else None
        heading = re.fullmatch(r"heading ?([1-9])", style.name.lower())
        if heading:
            return int(heading[1])
        if style.name.lower() == "title":
            return 1
    return None


def read_numbering(package: Package, path: str, styles: dict[str, Style]) -> Numbering:
    """The lists of a document."""
    numbering = Numbering()
    links: dict[str, str] = {}  # abstract id -> the style whose list it takes
    for numbering_path in package.parts_of_kind(path, "numbering"):
        for element in package.parse(numbering_path):
            if name_of(element) == "abstractNum":
                key = attribute(element, "abstractNumId") or ""
                numbering.levels[key] = dict(_read_levels(element))
                link = attribute(child(element, "numStyleLink"), "val")
                if link:
                    links[key] = link
            elif name_of(element) == "num":
                _read_list(element, numbering)
    for key, link in links.items():
        number_id = styles[link].number_id if link in styles else None
        target = numbering.lists.get(number_id or "")
        numbering.levels[key] = numbering.levels.get(target or "", numbering.levels[key])
    return numbering


def _read_levels(element: Any) -> Iterator[tuple[int, Level]]:
    for part in element:
        if name_of(part) == "lvl":
            start = _number(child(part, "start"))
            level = Level(
                form=attribute(child(part, "numFmt"), "val") or "decimal",
                pattern=attribute(child(part, "lvlText"), "val") or "",
                start=1 if start is None else start,
                style=attribute(child(part, "pStyle"), "val"),
            )
            yield int(attribute(part, "ilvl") or 0), level


def _read_list(element: Any, numbering: Numbering) -> None:
    key = attribute(element, "numId") or ""
    abstract_id = attribute(child(element, "abstractNumId"), "val") or ""
    numbering.lists[key] = abstract_id
    for override in element:
        if name_of(override) != "lvlOverride":
            continue
        start = _number(child(override, "startOverride"))
        if start is not None:
            numbering.starts[key, int(attribute(override, "ilvl") or 0)] = start


def _number(element: Any) -> int | None:
    """The whole number that a property states; None if it states none."""
    value = attribute(element, "val")
    return int(value) if value is not None and value.lstrip("-").isdecimal() else None
