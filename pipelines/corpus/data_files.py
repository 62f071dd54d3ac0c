"""Reads files of data: JSON, JSON Lines, YAML and XML."""

import json
from collections.abc import Iterator
from typing import Any

from pipelines.corpus.markdown import drop_embedded_pictures, with_sections
from pipelines.corpus.parts import ConvertedDocument, Part, Unreadable, assemble

MAX_DEPTH = 100  # nested objects and elements; real files have tens
TITLE_KEYS = ("title", "name", "id", "key")
PICTURES = "pictures"


def convert_json(text: str) -> ConvertedDocument:
    """Each record as a list of `key: value`; keys of inner objects are joined by dots."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error}") from error
    return _write_records([value])


def convert_json_lines(text: str) -> ConvertedDocument:
    """Each line's record as a list of `key: value`."""
    values = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise Unreadable(f"not JSON Lines: line {number}: {error}") from error
    return _write_records(values)


def _write_records(values: list[Any]) -> ConvertedDocument:
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    blocks = ("\n".join(_lines(value)) for value in values)
    document = assemble(Part("text", block) for block in blocks)
    text, num_picture_characters = drop_embedded_pictures(document.text)
    left_out = {PICTURES: num_picture_characters} if num_picture_characters else {}
    return document._replace(text=text, title=_title(values), left_out=left_out)


def _title(values: list[Any]) -> str | None:
    """What the only record is called."""
    if len(values) != 1 or not isinstance(values[0], dict):
        return None
    for key in TITLE_KEYS:
        if isinstance(values[0].get(key), str) and values[0][key].strip():
            return " ".join(values[0][key].split())
    return None


def _lines(value: Any) -> Iterator[str]:
    """A line `- key: value` for each value; a list of plain values is one line."""
    for path, leaf in _leaves(value, ()):
        words = "\n  ".join(_format(leaf).split("\n"))
        yield f"- {'.'.join(path)}: {words}" if path else f"- {words}"


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if len(path) > MAX_DEPTH:
        raise Unreadable("its parts are nested too deeply")
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from _leaves(inner, (*path, str(number)))
    else:
        yield path, value


def _format(leaf: Any) -> str:
    if isinstance(leaf, list):
        return ", ".join(map(_format, leaf))
    if isinstance(leaf, str):
        return leaf.strip()
    return json.dumps(leaf)


def convert_yaml(text: str) -> ConvertedDocument:
    """YAML as it is, in a listing: its comments say what no value does.

    The library checks that it is YAML.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for _ in yaml.parse(text, Loader=loader):
            pass
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise Unreadable(
            f"not YAML: {problem}. A template has to be filled in before it can be read"
        ) from error
    if not text.strip():
        return with_sections(text)
    fence = "`" * 4
    document = with_sections(f"{fence}yaml\n{text.strip()}\n{fence}")
    text_without_pictures, num_picture_characters = drop_embedded_pictures(document.text)
    left_out = {PICTURES: num_picture_characters} if num_picture_characters else {}
    return document._replace(text=text_without_pictures, left_out=left_out)
