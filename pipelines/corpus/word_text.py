"""Reads the text of Word's paragraphs: runs, fields, revisions, symbols and formulas.

An element that is not known is read through, so that no text is lost for its frame; what is left
out on purpose is counted.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

from pipelines.corpus.ooxml import (
    Package,
    Relation,
    attribute,
    child,
    count_characters,
    descendants,
    is_on,
    name_of,
    read_drawing,
)

DELETIONS = "deleted text"
HIDDEN = "hidden text"
READINGS = "phonetic guides"
PICTURES = "pictures"
SYMBOLS = "symbols without a character"
LEFT_OUT = {"del": DELETIONS, "moveFrom": DELETIONS, "rt": READINGS}
PROPERTIES = frozenset(
    [
        "pPr",
        "rPr",
        "tblPr",
        "tblGrid",
        "tblPrEx",
        "trPr",
        "tcPr",
        "sectPr",
        "sdtPr",
        "sdtEndPr",
        "instrText",
        "delText",
        "delInstrText",
        "fldData",
        "ffData",
        "proofErr",
        "bookmarkStart",
        "bookmarkEnd",
        "footnoteRef",
        "endnoteRef",
        "annotationRef",
        "smartTagPr",
        "customXmlPr",
        "rubyPr",
        "commentReference",
    ]  # a list of literals takes 30 lines
)
CHARACTERS = {
    "tab": "\t",
    "ptab": "\t",
    "br": "\n",
    "cr": "\n",
    "noBreakHyphen": "-",
    "softHyphen": "",
}
ORDINALS = ("st", "nd", "rd", "th", "er", "re", "e", "ème", "o", "a", "os", "as")
# Characters of Adobe's Symbol and Microsoft's Wingdings, by their codes in those fonts.
SYMBOL_FONT = dict(
    zip(
        map(ord, "abgdezhqiklmnxoprstufcywGDQLXPSFYW"),
        "αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΦΨΩ",
        strict=True,
    )
) | {
    0xA3: "≤",
    0xA5: "∞",
    0xAB: "↔",
    0xAC: "←",
    0xAD: "↑",
    0xAE: "→",
    0xAF: "↓",
    0xB0: "°",
    0xB1: "±",
    0xB3: "≥",
    0xB4: "×",
    0xB7: "•",
    0xB8: "÷",
    0xB9: "≠",
    0xBB: "≈",
    0xBC: "…",
    0xCE: "∈",
    0xD6: "√",
    0xD7: "⋅",
    0xDE: "⇒",
    0xE5: "∑",
}
WINGDINGS = {
    0x6C: "●",
    0x6E: "■",
    0x6F: "□",
    0xA7: "▪",
    0xA8: "☐",
    0xD8: "➢",
    0xDF: "←",
    0xE0: "→",
    0xE1: "↑",
    0xE2: "↓",
    0xE8: "➔",
    0xF0: "⇨",
    0xFB: "✗",
    0xFC: "✓",
    0xFD: "☒",
    0xFE: "☑",
}
FONTS = {"symbol": SYMBOL_FONT, "wingdings": WINGDINGS}


class Span(NamedTuple):
    """Text that stands on, above or below the line."""

    text: str
    script: str = ""  # superscript | subscript
    is_struck: bool = False


@dataclass
class Reading:
    """The document that is being read, and what the current paragraph leaves for after it."""

    package: Package
    path: str  # of the part that is being read
    notes: dict[tuple[str, str], Any] = field(default_factory=dict)  # (kind, id) -> element
    num_notes: int = 0  # those referred to so far
    pending_notes: list[tuple[int, Any]] = field(default_factory=list)
    boxes: list[Any] = field(default_factory=list)  # text boxes anchored in the paragraph
    drawings: list[str] = field(default_factory=list)  # texts of charts and diagrams
    links: dict[str, str] = field(default_factory=dict)  # of the section: target -> label
    left_out: Counter[str] = field(default_factory=Counter)

    @cached_property
    def relations(self) -> dict[str, Relation]:
        """What the links of the part refer to, by their ids."""
        return self.package.relations(self.path)


def read_text(element: Any, reading: Reading) -> str:
    """The text of a paragraph. Its notes, boxes and drawings are left in `reading`."""
    return join_spans(_read_spans(element, reading))


def join_spans(spans: Iterable[Span]) -> str:
    """The text of spans, with neighbours of the same kind joined before they are marked."""
    text = ""
    for kind, group in groupby(spans, key=lambda span: (span.script, span.is_struck)):
        script, is_struck = kind
        words = format_script("".join(span.text for span in group), script)
        text += f"~~{words}~~" if is_struck and words.strip() else words
    return text


def format_script(text: str, script: str) -> str:
    """`10` with a raised 6 is 10^6, and x with a lowered i is x_i; H2O and 1st need no mark."""
    words = text.strip()
    if script == "superscript":
        is_word = words.lower() in ORDINALS or not re.search(r"\w", words)
        return text if is_word else _mark("^", words)
    if script == "subscript":
        return text if not words or words[0].isdigit() else _mark("_", words)
    return text


def _mark(mark: str, words: str) -> str:
    return f"{mark}{words}" if re.fullmatch(r"[-+−]?\w+", words) else f"{mark}({words})"


def _read_spans(element: Any, reading: Reading) -> Iterator[Span]:
    for part in element:
        name = name_of(part)
        if name in LEFT_OUT:
            reading.left_out[LEFT_OUT[name]] += count_characters(part)
        elif name == "r":
            yield from _read_run(part, reading)
        elif name == "oMath":
            yield Span(format_formula(part))
        elif name == "AlternateContent":
            yield from _read_alternative(part, reading)
        elif name not in PROPERTIES:
            yield from _read_leaf(part, name, reading)


def _read_leaf(part: Any, name: str, reading: Reading) -> Iterator[Span]:
    """A single element within a run, or an unknown frame around some."""
    if name == "t":
        yield Span((part.text or "").replace("\n", " "))
    elif name in CHARACTERS:
        is_page_break = attribute(part, "type") in ("page", "column")
        yield Span("" if is_page_break else CHARACTERS[name])
    elif name == "sym":
        yield Span(_read_symbol(part, reading))
    elif name in ("footnoteReference", "endnoteReference"):
        yield Span(_read_note_mark(part, name.removesuffix("Reference"), reading))
    elif name == "txbxContent":
        reading.boxes.append(part)
    elif name in ("chart", "relIds"):
        frame = part.getparent()
        reading.drawings += read_drawing(reading.package, reading.path, frame)
    else:
        if name == "docPr":  # of a picture
            reading.left_out[PICTURES] += len(attribute(part, "descr") or "")
        yield from _read_spans(part, reading)


def _read_run(run: Any, reading: Reading) -> Iterator[Span]:
    properties = child(run, "rPr")
    if is_on(properties, "vanish"):
        reading.left_out[HIDDEN] += count_characters(run)
        return
    script = attribute(child(properties, "vertAlign"), "val") or ""
    is_struck = is_on(properties, "strike", "dstrike")
    for span in _read_spans(run, reading):
        is_mark = span.text.startswith("[")  # of a note
        yield span if is_mark or span.script else Span(span.text, script, is_struck)


def _read_alternative(element: Any, reading: Reading) -> Iterator[Span]:
    """The newest alternative that has text; they say the same."""
    alternatives = [part for part in element if name_of(part) in ("Choice", "Fallback")]
    for alternative in alternatives:
        if any(True for _ in descendants(alternative, "t", "chart", "relIds")):
            yield from _read_spans(alternative, reading)
            return
    for alternative in alternatives[:1]:
        yield from _read_spans(alternative, reading)


def _read_symbol(element: Any, reading: Reading) -> str:
    """A character by its code in a font of symbols; such codes lie at U+F000 and above."""
    code = int(attribute(element, "char") or "0", 16)
    if 0xF000 <= code <= 0xF0FF:
        code -= 0xF000
    font = (attribute(element, "font") or "").lower()
    for name, characters in FONTS.items():
        if font.startswith(name):
            if code in characters:
                return characters[code]
            if font != "symbol":
                reading.left_out[SYMBOLS] += 1
                return ""
    return chr(code) if code >= 0x20 and not 0xD800 <= code <= 0xDFFF else ""


def _read_note_mark(reference: Any, kind: str, reading: Reading) -> str:
    note = reading.notes.get((kind, attribute(reference, "id") or ""))
    if note is None:
        return ""
    reading.num_notes += 1
    reading.pending_notes.append((reading.num_notes, note))
    return f"[{reading.num_notes}]"


def format_formula(element: Any) -> str:
    """A formula of Office's editor in a line: fractions as a/b, powers as a^b."""
    text = ""
    for part in element:
        name = name_of(part)
        if name == "t":
            text += part.text or ""
        elif name == "f":
            top = _enclose(format_formula(child(part, "num")))
            text += f"{top}/{_enclose(format_formula(child(part, 'den')))}"
        elif name in ("sup", "sub") and len(part):
            script = format_formula(part)
            mark = "^" if name == "sup" else "_"
            text += f"{mark}{_enclose(script)}" if script else ""
        elif name == "rad":
            text += f"√{_enclose(format_formula(child(part, 'e')))}"
        elif name == "d":
            text += f"({format_formula(part)})"
        elif name == "nary":
            sign = attribute(child(part, "naryPr", "chr"), "val") or "∫"
            text += sign + format_formula(part)
        elif not name.endswith("Pr"):
            text += format_formula(part)
    return text


def _enclose(text: str) -> str:
    return text if re.fullmatch(r"[\w.]*", text) else f"({text})"
