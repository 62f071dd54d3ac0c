"""dvc.yaml tracks only the code that `deps` lists: each stage must list every module of ours that it imports."""

import ast
from pathlib import Path

import pytest

from pipelines import graph


def modules_of(start: Path) -> set[Path]:
    """The files of `pipelines` that `start` imports, directly or through others, wherever in a file the import stands."""
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported(path):
            found = [Path(*name.split(".")).with_suffix(".py"), Path(*name.split(".")) / "__init__.py"]
            packages = [Path(*name.split(".")[:depth]) / "__init__.py" for depth in range(2, name.count(".") + 2)]
            waiting += [file for file in (*found, *packages) if file.exists()]
    return seen


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.startswith("pipelines.")}


# Started in processes of their own or copied, so no import leads to them.
ALSO_USED = {
    "finetune": ["pipelines/finetuning/worker.py"],
    "export": [f"pipelines/serving/inside/{name}.py" for name in ("assistant", "embedder", "engines", "exchange", "generator", "guard", "peer", "search", "trafficlog")],
}


def wanted(stage: str) -> set[str]:
    starts = [Path("pipelines/stages") / f"{stage}.py", *map(Path, ALSO_USED.get(stage, []))]
    found = {file for start in starts for file in modules_of(start)}
    # An __init__.py that holds a docstring alone changes nothing when it changes.
    return {file.as_posix() for file in found if len(ast.parse(file.read_text()).body) > 1}


@pytest.mark.parametrize("stage", list(graph.read()))
def test_dvc_yaml_lists_each_module_that_a_stage_imports_and_no_other(stage: str) -> None:
    listed = {dep for dep in graph.read()[stage].deps if dep.endswith(".py")}

    missing, surplus = sorted(wanted(stage) - listed), sorted(listed - wanted(stage))

    assert not missing, f"add to the deps of {stage} in dvc.yaml:\n" + "\n".join(f"      - {path}" for path in missing)
    assert not surplus, f"remove from the deps of {stage} in dvc.yaml:\n" + "\n".join(f"      - {path}" for path in surplus)


def test_a_module_imported_inside_a_function_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "deep.py").write_text("NUMBER = 1\n")
    (tmp_path / "pipelines" / "outer.py").write_text("def run():\n    from pipelines.deep import NUMBER\n    return NUMBER\n")
    monkeypatch.chdir(tmp_path)

    assert modules_of(Path("pipelines/outer.py")) == {Path("pipelines/outer.py"), Path("pipelines/deep.py")}
