"""Stages of dvc.yaml: one file each, with one `run`. They compose rooms; they do not compute.

`run(config, inputs, outputs)` gets its section of params.yaml (several sections: a class `Config`
with one field for each) and two frozen dataclasses, `Inputs` and `Outputs`. Their fields are paths,
bound by name: `data/chunks.parquet` in dvc.yaml is `chunks`. A stage imports no other stage.
"""

import ast
import dataclasses
import importlib
import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines import graph
from pipelines.config import params
from pipelines.errors import UserError


def names() -> list[str]:
    """The stages of dvc.yaml, in its order; none outside a repository."""
    return list(graph.read()) if Path("dvc.yaml").exists() else []


def summaries() -> dict[str, str]:
    """What each stage of dvc.yaml does, from its docstring, read without importing the stage."""
    lines: dict[str, str] = {}
    for name in names():
        path = Path(__file__).with_name(f"{name}.py")
        source = path.read_text(encoding="utf-8") if path.exists() else ""
        docstring = ast.get_docstring(ast.parse(source)) or ""
        lines[name] = docstring.partition("\n")[0].removeprefix(f"{name}: ")
    return lines


def run(name: str) -> None:
    """Check the parameters, bind the stage's files by name, run it and note the seconds."""
    stage = graph.read()[name]
    values = params.load()
    module = importlib.import_module(f"pipelines.stages.{name}")
    config = config_of(module, stage, values)
    inputs = bind(module.Inputs, stage.inputs(), f"stage {name}: deps")
    outputs = bind(module.Outputs, stage.outputs(), f"stage {name}: outs")
    start = time.monotonic()
    module.run(config, inputs, outputs)
    _note_seconds(name, time.monotonic() - start)


def config_of(module: ModuleType, stage: graph.Stage, values: params.Params) -> Any:
    """The stage's section of params.yaml, or its `Config` filled with one section a field."""
    if not hasattr(module, "Config"):
        return values.named(stage.name)
    sections = {name: values.named(name) for name in stage.params}
    return bind(module.Config, sections, f"stage {stage.name}: params")


def bind(kind: Any, available: dict[str, Any], source: str) -> Any:
    """An instance of the dataclass `kind`, each field from `available` by its name.

    Raises UserError if dvc.yaml does not list what a field asks for.
    """
    fields = [field.name for field in dataclasses.fields(kind)]
    for field in fields:
        if field not in available:
            names = ", ".join(sorted(available)) or "nothing"
            raise UserError(f"dvc.yaml: {source} must list `{field}`; it lists {names}")
    return kind(**{field: available[field] for field in fields})


def _note_seconds(name: str, seconds: float) -> None:
    """Kept out of every artifact, so that the same input gives the same output."""
    folder = Path(".state/seconds")
    folder.mkdir(parents=True, exist_ok=True)
    note = {"seconds": round(seconds, 1), "ended": time.time()}
    (folder / f"{name}.json").write_text(json.dumps(note))
