"""Values that a run is given instead of params.yaml's: written into its own params.yaml, checked as a whole, recorded."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines import files
from pipelines.config import params
from pipelines.errors import UserError


class Change(NamedTuple):
    """One value that the run was given."""

    key: str  # section.key, deeper keys likewise
    before: Any
    after: Any


def apply(path: Path, given: dict[str, Any]) -> list[Change]:
    """Write those of the `given` dotted keys whose value differs into params.yaml; every other character stays. Raises UserError where the whole is then wrong; the file is then as before."""
    before = path.read_text(encoding="utf-8")
    text, changes = before, []
    for key, value in given.items():
        text, change = _put(text, key, value)
        changes += [change] if change else []
    files.write_text(path, text)
    try:
        params.load(path)
    except UserError as error:
        files.write_text(path, before)
        raise UserError(f"refused, nothing has run: {str(error).replace(str(path), 'params.yaml')}") from error
    return changes


def _put(text: str, key: str, value: Any) -> tuple[str, Change | None]:
    """The text with one value replaced by its JSON, which is YAML too."""
    node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    for part in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((held for name, held in pairs if name.value == part), None)
        if node is None:
            raise UserError(f"refused, nothing has run: params.yaml has no key `{key}` that could be overridden")
    assert node is not None
    start, end = node.start_mark, node.end_mark
    before = yaml.safe_load(text[start.index : end.index].replace("\n" + " " * start.column, "\n"))
    if before == value and isinstance(before, bool) == isinstance(value, bool):
        return text, None
    # A block (lines below its key) ends where the next thing begins: give back the line end and the indentation that were between.
    is_block = isinstance(node, yaml.CollectionNode) and not node.flow_style
    rest = "\n" + " " * end.column if is_block else ""
    return text[: start.index] + json.dumps(value, ensure_ascii=False) + rest + text[end.index :], Change(key, before, value)
