"""Set the values of params.yaml that belong together: for the made model, or for one that reads.

made      a tiny model, trained here in a minute, that knows the FAQ by heart
reading   a real model of 135 million parameters that answers from the documents, with LoRA

Every other value and all comments stay.
"""

import argparse
import json
from pathlib import Path

from pipelines import files
from pipelines.adoption import params_text, presets
from pipelines.config import params
from pipelines.errors import UserError

PARAMS = Path("params.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=["made", "reading"], help="which values")
    parser.add_argument("--show", action="store_true", help="list them, change nothing")


def run(name: str, show: bool) -> None:
    """Change params.yaml. Raises UserError, with the file as it was, if the result is invalid."""
    original = PARAMS.read_text(encoding="utf-8")
    changes = presets.changes(original, name)
    text = original
    for key, value in changes.items():
        text = params_text.replace_value(text, key, value)
        print(f"{key}: {json.dumps(value)}")
    if show or not changes:
        print(f"{PARAMS}: {len(changes)} values differ from {name}")
        return
    _write(text, original)
    print(f"{PARAMS}: {len(changes)} values changed; `make run` runs what reads them")


def _write(text: str, original: str) -> None:
    files.write_text(PARAMS, text)
    try:
        params.load()
    except UserError:
        files.write_text(PARAMS, original)
        raise
