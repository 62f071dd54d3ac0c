"""Splits the front matter of a Markdown page, in YAML or TOML, from its text.

Front matter may name the groups that alone may read the page (`readers: [hr]`); see
stated_readers.py.
"""

import re
import tomllib
from typing import Any, NamedTuple

from pipelines.corpus import stated_readers
from pipelines.corpus.detection import HTML, MARKDOWN, MDX, PLAIN, RST
from pipelines.corpus.parts import Unreadable

FENCES = re.compile(
    r"\s*(?:(?P<yaml>---)[ \t]*\n(?P<yaml_source>.*?)(?:^|\n)(?:---|\.\.\.)"
    r"|(?P<toml>\+\+\+)[ \t]*\n(?P<toml_source>.*?)(?:^|\n)\+\+\+)[ \t]*(?:\n|\Z)",
    re.DOTALL,
)
UNCLEAR = (
    "it seems to name its readers, and not in valid front matter: between two lines `---`, or "
    "`+++`, at the very beginning"
)
HEAD_BYTES = 16_384
WITH_FRONT_MATTER = (MARKDOWN, MDX)
PROSE = (PLAIN, RST)
TITLE_KEYS = ("title", "Title", "TITLE", "name")
DESCRIPTION_KEYS = ("description", "Description", "summary", "subtitle", "excerpt", "lead")
# A line of YAML that no loader accepts, such as that of a template: `title: {{ page.name }}`.
KEY_LINE = re.compile(r"[\w.-]+\s*:(\s|$)|\s|#|-\s")
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
        _demand_clear(text)
        return None
    fence = match["yaml"] or match["toml"]
    source = match[f"{'yaml' if match['yaml'] else 'toml'}_source"]
    body = text[match.end() :].lstrip("\n")
    _demand_clear(body)
    fields = _parse(source, fence)
    if fields is None:
        if stated_readers.mentions_readers(source):
            raise Unreadable(UNCLEAR)
        return None
    title = _first_value(fields, TITLE_KEYS)
    description = _first_value(fields, DESCRIPTION_KEYS)
    num_characters = len(source.strip()) - len(title or "") - len(description or "")
    groups = stated_readers.find(fields)
    if groups is not None and fence == "---":
        stated_readers.demand_single(source)
    return FrontMatter(groups, title, description, body, max(0, num_characters))


def demand_no_readers(content: bytes, text: str, media_type: str) -> None:
    """Raises Unreadable if a document names readers where its format has no front matter."""
    if media_type in WITH_FRONT_MATTER:
        return
    beginning = content[:HEAD_BYTES].decode("utf-8-sig", "replace").replace("\r\n", "\n")
    is_named = _has_front_matter(beginning) or _has_front_matter(text)
    if media_type in PROSE:
        is_named = is_named or stated_readers.head_mentions_readers(text)
    if media_type == RST:
        is_named = is_named or stated_readers.has_field(beginning)
    if media_type == HTML:
        is_named = is_named or stated_readers.has_meta(beginning)
    if is_named:
        raise Unreadable(
            "it seems to name its readers, which only the front matter of Markdown does: make it "
            "Markdown, or name the readers at its source (params.yaml: ingest.sources)"
        )


def _has_front_matter(text: str) -> bool:
    """Whether a text begins with front matter that names readers, as Markdown would have it."""
    match = FENCES.match(text)
    return match is not None and stated_readers.mentions_readers(match[0])


def _demand_clear(text: str) -> None:
    """Raises Unreadable if a text begins with something like front matter that names readers."""
    if stated_readers.head_mentions_readers(text):
        raise Unreadable(UNCLEAR)


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
    if stated_readers.mentions_readers(source):
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
