"""The small made model instead of the default one: values of params.yaml, quick enough for tests.

infra/presets/made.json holds them, since the demo takes them too.
"""

import json
from pathlib import Path
from typing import Any

MADE_MODEL: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "infra/presets/made.json").read_text()
)


def section(name: str) -> dict[str, Any]:
    """The keys of one section."""
    values: dict[str, Any] = {}
    for dotted_key, value in MADE_MODEL.items():
        section_name, key = dotted_key.split(".")
        if section_name == name:
            values[key] = value
    return values


def select(params: dict[str, Any]) -> None:
    """Change the content of params.yaml so that it asks for this model."""
    for dotted_key, value in MADE_MODEL.items():
        section_name, key = dotted_key.split(".")
        params[section_name][key] = value
