"""Compare the code that dvc.yaml lists under each stage's `deps` with what the stage uses."""

import argparse
import io
from pathlib import Path
from typing import Any

from pipelines import files, graph
from pipelines.system import dependencies

DVC_YAML = Path("dvc.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--write", action="store_true", help="change dvc.yaml; comments and order are kept"
    )


def run(write: bool) -> int:
    """Print every difference; exit code 1 if there is one and it was not written."""
    num_differences = 0
    for stage in graph.read(DVC_YAML).values():
        current = [path for path in stage.deps if path.startswith(graph.CODE_FOLDER)]
        code = dependencies.code_of(stage.name)
        changes = [f"  + {path}" for path in code if path not in current]
        changes += [f"  - {path}" for path in current if path not in code]
        if changes:
            print(f"{stage.name}:", *changes, sep="\n")
            num_differences += len(changes)
    if not num_differences:
        print("dvc.yaml lists the code of every stage")
        return 0
    if not write:
        print(f"{num_differences} differences: `python -m pipelines deps --write` writes them")
        return 1
    write_deps(DVC_YAML)
    print(f"{DVC_YAML}: {num_differences} lines changed")
    return 0


def write_deps(path: Path) -> None:
    """Replace the code under each stage's `deps`; data comes first, then code, sorted."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096  # no line is wrapped
    yaml.indent(mapping=2, sequence=4, offset=2)
    content: Any = yaml.load(path.read_text(encoding="utf-8"))
    for name, body in content["stages"].items():
        deps = body.setdefault("deps", [])
        code = dependencies.code_of(name)
        for path_in_deps in list(deps):
            if path_in_deps.startswith(graph.CODE_FOLDER):
                deps.remove(path_in_deps)
        deps.extend(code)
    text = io.StringIO()
    yaml.dump(content, text)
    files.write_text(path, text.getvalue())
