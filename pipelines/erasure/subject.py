"""Whom or what an erasure is about, and how a text or a record tells that it speaks of it."""

import html
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pipelines.errors import UserError
from pipelines.runtime.character_pairs import SCRIPTS_WITHOUT_BLANKS

Kind = Literal["document", "person", "tenant"]
MIN_CHARACTERS = 3
MIN_CHARACTERS_WITHOUT_BLANKS = 2  # of scripts in which a name often has no more
MIN_DIGITS = 6  # of a number that may be written with other separators
WITHOUT_BLANKS = re.compile(f"[{SCRIPTS_WITHOUT_BLANKS}]")
NUMBER = re.compile(r"\+?[\d\s().\-/]+")
SEPARATORS = r"[\s().\-/]*"
TAG = re.compile(r"<[^<>]*>")
# Marks of Markdown within a line, and those at its beginning that set off a quotation.
EMPHASIS = re.compile(r"[*_`~\\]")
QUOTATION = re.compile(r"^[ \t]*>[> \t]*", re.MULTILINE)


@dataclass(frozen=True)
class Subject:
    """A document by its uri, a person by name, address or the like, or a tenant by name.

    A person is found in texts, whatever the case, the width and the spaces of its characters, with
    marks of HTML or Markdown in between; a number with other separators. A document is found by its
    uri. A tenant's name may be any word, so it is found in columns of tenants alone, never in a
    text.
    """

    kind: Kind
    name: str

    @classmethod
    def of(cls, kind: Kind, name: str) -> "Subject":
        """Raises UserError if the name is so short that it would be found everywhere."""
        if kind == "tenant" and name.strip():
            return cls(kind, name)
        is_dense = WITHOUT_BLANKS.search(name) is not None
        least = MIN_CHARACTERS_WITHOUT_BLANKS if is_dense else MIN_CHARACTERS
        if len(_normalise(EMPHASIS.sub("", name))) < least:
            raise UserError(
                f"--{kind} {name!r}: give at least {least} characters; "
                "a shorter text would be found where something else is meant"
            )
        return cls(kind, name.strip())

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        if self.kind == "document":
            # `handbook/gate.md` is neither `old/handbook/gate.md` nor `handbook/gate.md.bak`.
            return re.compile(rf"(?<![\w/]){re.escape(_normalise(self.name))}(?!\w|[./-]\w)")
        digits = [sign for sign in self.name if sign.isdecimal()]
        if NUMBER.fullmatch(self.name) and len(digits) >= MIN_DIGITS:
            return re.compile(rf"(?<!\d)(?:00{SEPARATORS})?{SEPARATORS.join(digits)}(?!\d)")
        name = _normalise(EMPHASIS.sub("", self.name))
        before = r"(?<!\w)" if _has_borders(name[0]) else ""
        after = r"(?!\w)" if _has_borders(name[-1]) else ""
        return re.compile(before + re.escape(name) + after)

    def is_in_text(self, text: str) -> bool:
        """Whether a text speaks of it; a tenant is never found in a text."""
        return self.kind != "tenant" and any(map(self._matches, _readings(text)))

    def is_in(self, value: Any) -> bool:
        """Whether one of the texts of a record, list or JSON value speaks of it."""
        return any(self.is_in_text(text) for text in texts_of(value))

    def _matches(self, text: str) -> bool:
        if self._pattern.search(_normalise(text)):
            return True
        if self.kind == "document":
            return False
        plain_text = EMPHASIS.sub("", QUOTATION.sub("", text))
        return plain_text != text and self._pattern.search(_normalise(plain_text)) is not None


def _readings(text: str) -> Iterator[str]:
    """The text, and what it says without tags: some stand within a word, others between words."""
    yield text
    if "<" in text or "&" in text:
        yield html.unescape(TAG.sub("", text))
        yield html.unescape(TAG.sub(" ", text))


def _has_borders(sign: str) -> bool:
    return sign.isalnum() and not WITHOUT_BLANKS.match(sign)


def _normalise(text: str) -> str:
    """Without case, width and invisible signs; all white space is one space."""
    text_alike = unicodedata.normalize("NFKC", text).casefold()
    if not text_alike.isascii():
        text_alike = "".join(sign for sign in text_alike if unicodedata.category(sign) != "Cf")
    return " ".join(text_alike.split())


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a value made of dicts, lists, texts and bytes."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from texts_of(key)
            yield from texts_of(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts_of(part)


def json_or_text(text: str) -> Any:
    """The JSON value of a text, or the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
