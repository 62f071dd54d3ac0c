"""Splits the front matter of a Markdown page, in YAML or TOML, from its text."""

import re
import tomllib
from typing import Any, NamedTuple

FENCES = re.compile(r"\s*(---|\+\+\+)[ \t]*\n(.*?)(?:^|\n)(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
TITLE_KEYS = ("title", "Title", "TITLE", "name")
DESCRIPTION_KEYS = ("description", "Description", "summary", "subtitle", "excerpt", "lead")
# A line of YAML that no loader accepts, such as that of a template: `title: {{ page.name }}`.
KEY_LINE = re.compile(r"[\w.-]+\s*:(\s|$)|\s|#|-\s")
TITLE_LINE = re.compile(r"(?im)^title\s*:\s*(.+)$")


class FrontMatter(NamedTuple):
    """A page's title and description, the text after them, and how much was left out."""

    title: str | None
    description: str | None
    body: str
    num_characters: int  # of the front matter, apart from title and description


def split_front_matter(text: str) -> FrontMatter | None:
    """The front matter that a text begins with; None if it begins otherwise.

    A rule (`---`) is not front matter: between two fences there must be keys and values.
    """
    match = FENCES.match(text)
    if match is None:
        return None
    fields = _parse(match[2], match[1])
    if fields is None:
        return None
    title = _first_value(fields, TITLE_KEYS)
    description = _first_value(fields, DESCRIPTION_KEYS)
    num_characters = len(match[2].strip()) - len(title or "") - len(description or "")
    return FrontMatter(title, description, text[match.end() :].lstrip("\n"), max(0, num_characters))


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
