"""Knows dvc.yaml: which stages there are, what each reads and writes, and in what order.

dvc.yaml is the only place where a stage is declared; the runner and the DAGs read it through this module.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import UserError
from pipelines.yamlerrors import no_yaml


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml. Paths are as written there, relative to the repository's root."""

    name: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    params: tuple[str, ...]
    phase: str | None = None  # `meta: {phase: ...}`, which groups stages in Airflow

    def artifacts(self) -> dict[str, Path]:
        """File stem -> path, for every dependency that is no code and every output."""
        paths = [Path(path) for path in (*self.deps, *self.outs) if not path.startswith("pipelines/")]
        found: dict[str, Path] = {}
        for path in paths:
            if path.stem in found:
                raise UserError(f"dvc.yaml: stage {self.name} has two artifacts named `{path.stem}` ({found[path.stem]} and {path}): rename one")
            found[path.stem] = path
        return found


def read(path: Path = Path("dvc.yaml")) -> dict[str, Stage]:
    """Stages by name, in the order of dvc.yaml. Raises UserError where the file cannot be read as stages."""
    if not path.exists():
        raise UserError(f"{path} is not here: run this from the repository's root")
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise no_yaml(path, error) from error
    stages = loaded.get("stages") if isinstance(loaded, dict) else None
    if not isinstance(stages, dict):
        raise UserError(f"{path} has no `stages:` section")
    return {name: _stage(path, name, body) for name, body in stages.items()}


def edges(stages: dict[str, Stage]) -> set[tuple[str, str]]:
    """(upstream, downstream) for every output that another stage reads: the whole, a file in it, or the folder around it."""
    made = [(out, stage.name) for stage in stages.values() for out in stage.outs]
    return {(maker, stage.name) for stage in stages.values() for dep in stage.deps for out, maker in made if _overlap(dep, out) and maker != stage.name}


def leading_to(stages: dict[str, Stage], name: str) -> list[str]:
    """The stage and all that it needs, directly or through others, in the order of dvc.yaml."""
    needed, before = {name}, edges(stages)
    while more := {one for one, other in before if other in needed} - needed:
        needed |= more
    return [stage for stage in stages if stage in needed]


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _stage(path: Path, name: str, body: Any) -> Stage:
    if not isinstance(body, dict) or "cmd" not in body:
        line = next((number for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1) if text.strip() == f"{name}:"), 1)
        raise UserError(f"{path}:{line}: stage {name} has no `cmd`: add `cmd: python -m pipelines {name}`")
    outs = [_key(item) for kind in ("outs", "metrics", "plots") for item in body.get(kind) or []]
    return Stage(name, tuple(map(_key, body.get("deps") or [])), tuple(outs), tuple(map(_key, body.get("params") or [])), (body.get("meta") or {}).get("phase"))


def _key(item: str | dict[str, Any]) -> str:
    return item if isinstance(item, str) else next(iter(item))
