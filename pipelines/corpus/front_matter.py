"""Splits the front matter of a Markdown page, in YAML or TOML, from its text.

Front matter may name the groups that alone may read the page (`readers: [hr]`). A page whose
readers cannot be understood is rejected: it must not become everyone's.
"""

import re
import tomllib
from typing import Any, NamedTuple

from pipelines.corpus.parts import Unreadable
from pipelines.runtime import readers

FENCES = re.compile(r"\s*(---|\+\+\+)[ \t]*\n(.*?)(?:^|\n)(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
TITLE_KEYS = ("title", "Title", "TITLE", "name")
DESCRIPTION_KEYS = ("description", "Description", "summary", "subtitle", "excerpt", "lead")
# A line of YAML that no loader accepts, such as that of a template: `title: {{ page.name }}`.
KEY_LINE = re.compile(r"[\w.-]+\s*:(\s|$)|\s|#|-\s")
READERS_KEY = "readers"
READERS_LINE = re.compile(r"(?im)^[ \t]*[\"']?readers[\"']?[ \t]*[:=]")
TITLE_LINE = re.compile(r"(?im)^title\s*:\s*(.+)$")


class FrontMatter(NamedTuple):
    """A page's title, description and readers, the text after them, and how much was left out."""

    readers: list[str] | None  # groups, or everyone; None: it names none
    title: str | None
    description: str | None
    body: str
    num_characters: int  # of the front matter, apart from title and description


def split_front_matter(text: str) -> FrontMatter | None:
    """The front matter that a text begins with; None if it begins otherwise.

    A rule (`---`) is not front matter: between two fences there must be keys and values. Raises
    Unreadable if it says something of readers that cannot be understood.
    """
    match = FENCES.match(text)
    if match is None:
        return None
    fields = _parse(match[2], match[1])
    if fields is None:
        if READERS_LINE.search(match[2]):
            raise Unreadable("its front matter names readers, and is no valid YAML or TOML")
        return None
    title = _first_value(fields, TITLE_KEYS)
    description = _first_value(fields, DESCRIPTION_KEYS)
    num_characters = len(match[2].strip()) - len(title or "") - len(description or "")
    body = text[match.end() :].lstrip("\n")
    return FrontMatter(_readers(fields), title, description, body, max(0, num_characters))


def names_readers(text: str) -> bool:
    """Whether a text begins as front matter that names readers does."""
    match = FENCES.match(text)
    return match is not None and READERS_LINE.search(match[2]) is not None


def _readers(fields: dict[Any, Any]) -> list[str] | None:
    """Raises Unreadable if they are not the names of groups."""
    keys = [key for key in fields if str(key).lower() == READERS_KEY]
    if not keys:
        return None
    value = fields[keys[0]]
    names = [value] if isinstance(value, str) else value
    if len(keys) > 1 or not isinstance(names, list) or not names:
        raise Unreadable(f"its front matter's readers are {value!r}: write a list such as [hr]")
    try:
        groups = readers.to_groups(map(str, names))
    except ValueError as error:
        raise Unreadable(f"its front matter's readers: {error}") from error
    return [readers.EVERYONE] if readers.EVERYONE in names else list(groups)


def _parse(source: str, fence: str) -> dict[Any, Any] | None:
    if fence == "+++":
        return _parse_toml(source)
    return _parse_yaml(source)


def _parse_toml(source: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError:
        return None


def _parse_yaml(source: str) -> dict[Any, Any] | None:
    """The fields; of a template, which is not YAML, the title alone."""
    import yaml

    try:
        fields = yaml.safe_load(source)
    except (yaml.YAMLError, ValueError):  # ValueError: 2024-02-31 is no date
        return _parse_template(source)
    return fields if isinstance(fields, dict) else None


def _parse_template(source: str) -> dict[str, Any] | None:
    if READERS_LINE.search(source):
        return None
    lines = filter(str.strip, source.split("\n"))
    if not all(map(KEY_LINE.match, lines)):
        return None
    title = TITLE_LINE.search(source)
    return {"title": title[1].strip("\"' ")} if title else {}


def _first_value(fields: dict[Any, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = fields.get(key)
        if isinstance(value, str | int | float) and str(value).strip():
            return " ".join(str(value).split())
    return None
