"""Presets: values of params.yaml that belong together (infra/presets/*.json)."""

import json
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path("infra/presets")
READING = "reading"  # a model that answers from the documents


def keys(name: str) -> list[str]:
    """The dotted keys that the preset sets."""
    return list(_values(name))


def changes(text: str, name: str) -> dict[str, Any]:
    """Dotted key -> value of the preset, of those that params.yaml's text has otherwise."""
    sections = yaml.safe_load(text)
    differences: dict[str, Any] = {}
    for key, value in _values(name).items():
        section, field = key.split(".")
        if sections[section][field] != value:
            differences[key] = value
    return differences


def _values(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return values
