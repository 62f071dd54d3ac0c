"""Values that a run gets instead of those in params.yaml.

They are written into the run's own params.yaml, which is then checked as a whole.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines import files
from pipelines.config import params
from pipelines.config.params import Params
from pipelines.errors import UserError


class Change(NamedTuple):
    """One value that the run overrides."""

    key: str  # section.key, deeper keys likewise
    before: Any
    after: Any


def apply(
    path: Path, overrides: dict[str, Any], check: Callable[[Params], None] | None = None
) -> list[Change]:
    """Write the values that differ into params.yaml; every other character stays.

    `overrides` maps dotted keys to values. Raises UserError if the file would then be wrong, or if
    `check` refuses its values; it is left as it was.
    """
    original = path.read_text(encoding="utf-8")
    text = original
    changes: list[Change] = []
    for key, value in overrides.items():
        text, change = _replace_value(text, key, value)
        if change:
            changes.append(change)
    files.write_text(path, text)
    try:
        values = params.load(path)
        if check:
            check(values)
    except UserError as error:
        files.write_text(path, original)
        problem = str(error).replace(str(path), "params.yaml")
        raise type(error)(f"refused, nothing has run: {problem}") from error
    return changes


def _replace_value(text: str, key: str, value: Any) -> tuple[str, Change | None]:
    """The text with one value replaced by its JSON, which is YAML too."""
    node = _node_at(text, key)
    start = node.start_mark
    end = node.end_mark
    source = text[start.index : end.index].replace("\n" + " " * start.column, "\n")
    before = yaml.safe_load(source)
    if before == value and isinstance(before, bool) == isinstance(value, bool):
        return text, None
    after = json.dumps(value, ensure_ascii=False)
    # A block (lines below its key) ends where the next key begins: put back the line end and the
    # indentation between them. A list may stand in the column of its key; its JSON may not.
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        after = f" {after}\n" + " " * end.column
    return text[: start.index] + after + text[end.index :], Change(key, before, value)


def _node_at(text: str, key: str) -> yaml.Node:
    """The value of a dotted key. Raises UserError if there is no such key."""
    node = yaml.compose(text, yaml.SafeLoader)
    for part in key.split("."):
        node = _child(node, part)
        if node is None:
            raise UserError(
                f"refused, nothing has run: params.yaml has no key `{key}` that could be overridden"
            )
    assert node is not None
    return node


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                child: yaml.Node = value
                return child
    return None
