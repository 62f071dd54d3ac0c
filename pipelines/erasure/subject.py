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

Kind = Literal["document", "person", "tenant"]
MIN_CHARACTERS = 3
TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Subject:
    """A document by its uri, a person by name, address or the like, or a tenant by name.

    A person is found in texts, whatever the case, the width and the spaces of its characters. A
    document is found by its uri. A tenant's name may be any word, so it is found in columns of
    tenants alone, never in a text.
    """

    kind: Kind
    name: str

    @classmethod
    def of(cls, kind: Kind, name: str) -> "Subject":
        """Raises UserError if the name is so short that it would be found everywhere."""
        if kind == "tenant" and name.strip():
            return cls(kind, name)
        if len(normalise(name)) < MIN_CHARACTERS:
            raise UserError(
                f"--{kind} {name!r}: give at least {MIN_CHARACTERS} characters; "
                "a shorter text would be found in places that mean something else"
            )
        return cls(kind, name.strip())

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        name = re.escape(normalise(self.name))
        # `handbook/gate.md` is neither `old/handbook/gate.md` nor `handbook/gate.md.bak`.
        part = r"[\w/]" if self.kind == "document" else r"\w"
        after = r"(?!\w|[./-]\w)" if self.kind == "document" else r"(?!\w)"
        return re.compile(rf"(?<!{part}){name}{after}")

    def is_in_text(self, text: str) -> bool:
        """Whether a text speaks of it; tags of HTML or XML may stand between two words.

        A tenant is never found in a text.
        """
        if self.kind == "tenant":
            return False
        if self._pattern.search(normalise(text)) is not None:
            return True
        if "<" not in text and "&" not in text:
            return False
        plain_text = html.unescape(TAG.sub("", text))
        return self._pattern.search(normalise(plain_text)) is not None

    def is_in(self, value: Any) -> bool:
        """Whether one of the texts of a record, list or JSON value speaks of it."""
        return any(self.is_in_text(text) for text in texts_of(value))


def normalise(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


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
