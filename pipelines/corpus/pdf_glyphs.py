"""Reads the characters of a PDF page with their boxes, and the lines drawn on it, by PDFium."""

import ctypes
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

UNKNOWN = "\ufffd"  # a character whose font does not say which one it is
HYPHEN = "\x02"  # PDFium's sign for a hyphen at the end of a line
BULLETS = {"\uf0b7": "•", "\uf0a7": "•", "\uf0d8": "•"}  # of Symbol and Wingdings, as Word writes
# Ligatures and the forms in which Hebrew and Arabic letters are drawn; U+FEFF is none of them.
PRESENTATION_FORMS = re.compile("[\ufb00-\ufdff\ufe70-\ufefc]")
MAX_SKEW = 5  # degrees by which a page may lie askew in a scanner
MAX_OVERLAP = 0.5  # of a character's height: that two lines of text may share


class Box(NamedTuple):
    """In points. `top` is above `bottom` and the smaller number."""

    x0: float
    top: float
    x1: float
    bottom: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def middle(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.top + self.bottom) / 2

    def contains(self, point: tuple[float, float]) -> bool:
        x, y = point
        return self.x0 <= x <= self.x1 and self.top <= y <= self.bottom

    def is_level_with(self, box: "Box") -> bool:
        """Whether both stand in the same line: neither lies wholly above the other's middle."""
        overlap = min(self.bottom, box.bottom) - max(self.top, box.top)
        return overlap > MAX_OVERLAP * min(self.height, box.height)


def enclose(boxes: list[Box]) -> Box:
    """The smallest box around all of them."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


class Glyph(NamedTuple):
    """A character as it is drawn; the size is its font's, in points.

    A space that PDFium infers from a gap has no box of its own and is no glyph: `is_word_start`
    says that one stands before.
    """

    text: str
    box: Box
    size: float
    is_word_start: bool


class Font(NamedTuple):
    """What all characters of one text object have in common."""

    size: float
    angle: int  # degrees, counter-clockwise, in which its lines run


def read_glyphs(text_page: Any) -> dict[int, list[Glyph]]:
    """The characters by the angle of their lines in degrees, each group in the file's order.

    The boxes of a group are turned so that its lines run from left to right, whatever the rotation
    of the page.
    """
    groups: dict[int, list[Glyph]] = defaultdict(list)
    is_word_start = True
    for text, font, box in _characters(text_page):
        if text.isspace():
            is_word_start = True
            continue
        groups[font.angle].append(Glyph(text, turn(box, font.angle), font.size, is_word_start))
        is_word_start = False
    return dict(groups)


def _characters(text_page: Any) -> Iterator[tuple[str, Font, tuple[float, float, float, float]]]:
    """Text, font and box (left, bottom, right, top) of every character."""
    from pypdfium2 import raw

    font = Font(0.0, 0)
    text_object = None
    box = raw.FS_RECTF()
    for index in range(text_page.count_chars()):
        address = ctypes.cast(raw.FPDFText_GetTextObject(text_page, index), ctypes.c_void_p).value
        if address is not None and address != text_object:
            font = _font(text_page, index)
            text_object = address
        character = chr(raw.FPDFText_GetUnicode(text_page, index))
        if character != " " and raw.FPDFText_HasUnicodeMapError(text_page, index) == 1:
            character = UNKNOWN
        elif not (character.isascii() and character.isprintable()):
            is_hyphen = raw.FPDFText_IsHyphen(text_page, index) == 1
            character = HYPHEN if is_hyphen else _normalize(character)
        raw.FPDFText_GetLooseCharBox(text_page, index, box)
        yield character, font, (box.left, box.bottom, box.right, box.top)


def _normalize(character: str) -> str:
    """What a character stands for: its ligature's letters, a bullet, or UNKNOWN."""
    if character.isspace():
        return " "
    if character in BULLETS:
        return BULLETS[character]
    if PRESENTATION_FORMS.match(character):
        return unicodedata.normalize("NFKC", character)
    is_unknown = unicodedata.category(character) in ("Cc", "Co")
    return UNKNOWN if is_unknown else character


def _font(text_page: Any, index: int) -> Font:
    """The size and angle in which the character at `index` appears on the page."""
    from pypdfium2 import raw

    matrix = raw.FS_MATRIX()
    raw.FPDFText_GetMatrix(text_page, index, matrix)
    size = raw.FPDFText_GetFontSize(text_page, index) * math.hypot(matrix.c, matrix.d)
    angle = math.degrees(math.atan2(matrix.b, matrix.a))
    if not math.isfinite(size + angle):  # a damaged file
        return Font(0.0, 0)
    right_angle = 90 * round(angle / 90)
    is_skewed = abs(angle - right_angle) <= MAX_SKEW
    return Font(round(size, 1), (right_angle if is_skewed else round(angle)) % 360)


def turn(box: tuple[float, float, float, float], angle: int) -> Box:
    """A box (left, bottom, right, top) of the page as someone sees it who reads at this angle."""
    x0, y0, x1, y1 = box
    if angle % 90:
        return _turn_middle(box, angle)
    if angle == 90:
        return Box(y0, x0, y1, x1)
    if angle == 180:
        return Box(-x1, y0, -x0, y1)
    if angle == 270:
        return Box(-y1, -x1, -y0, -x0)
    return Box(x0, -y1, x1, -y0)


def _turn_middle(box: tuple[float, float, float, float], angle: int) -> Box:
    """At a slant, the box around a character is larger than it: one round its middle is taken."""
    x0, y0, x1, y1 = box
    x = (x0 + x1) / 2
    y = (y0 + y1) / 2
    radians = math.radians(angle)
    along = x * math.cos(radians) + y * math.sin(radians)
    down = x * math.sin(radians) - y * math.cos(radians)
    half = (x1 - x0) / 4
    return Box(along - half, down - half, along + half, down + half)
