"""Edits single values of params.yaml; every other character stays, comments included."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from pipelines.errors import UserError

COMMENT = re.compile(r" +(?=#)")


class Span(NamedTuple):
    """Where a value stands in the text."""

    start: int
    end: int


def value_text(text: str, key: str) -> str:
    """The text of the value of a dotted key, comments inside it included."""
    start, end = _span(text, key)
    return text[start:end]


def replace_value(text: str, key: str, value: Any) -> str:
    """The text with a number, a word, a flat list or a flat map as this value."""
    if isinstance(value, dict) and value:
        return _replace_map(text, key, value)
    return replace_text(text, key, json.dumps(value, ensure_ascii=False))


def _replace_map(text: str, key: str, value: dict[str, Any]) -> str:
    """A map has a line for each of its keys."""
    start, end = _span(text, key)
    before = text[text.rindex("\n", 0, start) + 1 : start]
    indentation = "\n" + before
    lines = [f"{name}: {json.dumps(item, ensure_ascii=False)}" for name, item in value.items()]
    if not before.isspace():  # `key: {...}` on one line
        width = len(before) - len(before.lstrip())
        indentation = "\n" + " " * (width + 2)
        start -= len(before) - len(before.rstrip())
        lines.insert(0, "")
    return text[:start] + indentation.join(lines) + text[end:]


def replace_text(text: str, key: str, value: str) -> str:
    """The text with another one as this value; a comment behind a single line keeps its column."""
    start, end = _span(text, key)
    rest = text[end:]
    gap = COMMENT.match(rest)
    if gap and "\n" not in value:
        width = max(2, gap.end() + (end - start) - len(value))
        rest = " " * width + rest[gap.end() :]
    return text[:start] + value + rest


def take_over(text: str, source: str, keys: Sequence[str]) -> str:
    """The text with the values of these keys, and the comments inside them, from `source`."""
    for key in keys:
        text = replace_text(text, key, value_text(source, key))
    return text


def add_key(text: str, key: str, value: Any) -> str:
    """The text with one more line at the head of a block: `key` is the new one's dotted name."""
    parent, _, name = key.rpartition(".")
    start = _span(text, parent).start
    indentation = " " * (start - text.rindex("\n", 0, start) - 1)
    line = f"{name}: {json.dumps(value, ensure_ascii=False)}\n{indentation}"
    return text[:start] + line + text[start:]


def remove_key(text: str, key: str) -> str:
    """The text without the line of a key that has a single value."""
    start, end = _span(text, key)
    line_start = text.rindex("\n", 0, start) + 1
    if "{" in text[line_start:start]:  # the whole map is on this line
        parent, _, name = key.rpartition(".")
        value = yaml.safe_load(value_text(text, parent))
        del value[name]
        return replace_value(text, parent, value)
    line_end = text.index("\n", end) + 1
    return text[:line_start] + text[line_end:]


def _span(text: str, key: str) -> Span:
    node: Any = yaml.compose(text, yaml.SafeLoader)
    for part in key.split("."):
        node = _child(node, part)
        if node is None:
            raise UserError(
                f"params.yaml: {key}: is missing: `git diff params.yaml` shows what it was"
            )
    start = node.start_mark.index
    # A block ends where the next key begins.
    end = start + len(text[start : node.end_mark.index].rstrip())
    return Span(start, end)


def _child(node: Any, key: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return value
    return None
