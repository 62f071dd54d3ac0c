"""Values that a run is given instead of params.yaml's: written into its own params.yaml, checked as a whole, recorded."""

from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from pipelines import files
from pipelines.config import params
from pipelines.errors import UserError


class Change(NamedTuple):
    """One value that the run was given."""

    key: str  # section.key, deeper keys likewise
    before: Any
    after: Any


def apply(path: Path, given: dict[str, Any]) -> list[Change]:
    """Write those of the `given` dotted keys whose value differs into params.yaml, comments kept. Raises UserError where the whole is then wrong; the file is then as before."""
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    before = path.read_text(encoding="utf-8")
    document = yaml.load(before)
    changes = [change for key, value in given.items() if (change := _put(document, key, value)) is not None]
    if changes:
        with files.replacing(path) as target, target.open("w", encoding="utf-8") as out:
            yaml.dump(document, out)
    try:
        params.load(path)
    except UserError as error:
        files.write_text(path, before)
        raise UserError(f"refused, nothing has run: {str(error).replace(str(path), 'params.yaml')}") from error
    return changes


def _put(document: Any, key: str, value: Any) -> Change | None:
    *parents, last = key.split(".")
    place = document
    for parent in parents:
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        raise UserError(f"refused, nothing has run: params.yaml has no key `{key}` that could be overridden")
    before = place[last]
    if before == value and isinstance(before, bool) == isinstance(value, bool):
        return None
    place[last] = value
    return Change(key, before, value)
