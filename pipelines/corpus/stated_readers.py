"""Which groups a document itself names as its only readers.

Front matter names them by the key `readers`. What looks like readers and cannot be understood
rejects the document: it must not become everyone's.
"""

import functools
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

from pipelines.corpus.parts import Unreadable
from pipelines.runtime import readers

KEY = "readers"
MAX_QUOTED_CHARACTERS = 100
HEAD_CHARACTERS = 16_384
TWICE = "its front matter names readers twice: name them once"
# Where the text is no front matter that can be parsed: `readers:`, `"readers" =`, `? readers`,
# `{title: x, readers: y}`, `:readers:` of reStructuredText.
MENTION = re.compile(r"(?im)(?:^|[{,;?])\W*readers\W{0,3}[:=]|\?\s*readers\b")
FIELD = re.compile(r"(?im)^:readers:")
META = re.compile(r"(?i)<meta\b[^>]*\bname\s*=\s*[\"']?readers\b")
HTML_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
BLANK_LINE = re.compile(r"\n[ \t]*\n")


def mentions_readers(text: str) -> bool:
    """Whether a piece of text that is no valid front matter seems to name readers."""
    return MENTION.search(_plain(text)) is not None


def head_mentions_readers(text: str) -> bool:
    """Whether the first lines of a text, up to an empty one, seem to name readers."""
    visible_text = HTML_COMMENT.sub("", _plain(text[:HEAD_CHARACTERS])).lstrip()
    head = BLANK_LINE.split(visible_text, maxsplit=1)[0]
    return MENTION.search(head) is not None


def has_meta(html: str) -> bool:
    """Whether a page of HTML names readers in its head, which nothing reads."""
    return META.search(html) is not None


def has_field(text: str) -> bool:
    """Whether reStructuredText names readers in a list of fields, which nothing reads."""
    return FIELD.search(text) is not None


def find(fields: dict[Any, Any]) -> list[str] | None:
    """The groups that front matter names, or `everyone` alone; None: it names nobody.

    Site generators keep keys of their own below another key (`extra`, `params`), so the key counts
    at any depth. Raises Unreadable if the readers are not the names of groups.
    """
    values = list(_values(fields))
    if not values:
        return None
    if len(values) > 1:
        raise Unreadable(TWICE)
    value = values[0]
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        quote = repr(value)[:MAX_QUOTED_CHARACTERS]
        raise Unreadable(f"its front matter's readers are {quote}: write a list such as [hr]")
    if readers.EVERYONE in names:
        if len(names) > 1:
            raise Unreadable("its front matter's readers are everyone and others: choose")
        return [readers.EVERYONE]
    try:
        return list(readers.to_groups(map(str, names)))
    except ValueError as error:
        reason = str(error)[:MAX_QUOTED_CHARACTERS]
        raise Unreadable(f"its front matter's readers: {reason}") from error


def demand_single(source: str) -> None:
    """Raises Unreadable if YAML has the key twice: of equal keys its loaders take the last."""
    import yaml

    if _count_keys(yaml.compose(source, Loader=yaml.SafeLoader), set()) > 1:
        raise Unreadable(TWICE)


def _count_keys(node: Any, known: set[int]) -> int:
    """How many keys of a node of YAML are `readers`; what an alias repeats counts once."""
    if id(node) in known or isinstance(node.value, str):
        return 0
    known.add(id(node))
    count = 0
    for child in node.value:
        key, value = child if isinstance(child, tuple) else (None, child)
        count += key is not None and is_key(key.value)
        count += _count_keys(value, known)
    return count


def is_key(key: object) -> bool:
    """Whether a key is `readers`, in whatever case and form, with blanks or invisible signs."""
    return _plain(str(key)).strip().casefold() == KEY


def _values(value: Any) -> Iterator[Any]:
    """The values of all keys that are `readers`."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item)
    if isinstance(value, dict):
        for key, item in value.items():
            if is_key(key):
                yield item
            else:
                yield from _values(item)


def _plain(text: str) -> str:
    """The text in its compatible form, without signs that nobody sees."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text).translate(_invisible_signs())


@functools.cache
def _invisible_signs() -> dict[int, None]:
    """Unicode's format characters, such as the soft hyphen and marks of byte order."""
    signs = range(sys.maxunicode + 1)
    return {sign: None for sign in signs if unicodedata.category(chr(sign)) == "Cf"}
