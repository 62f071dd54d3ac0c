"""Reads dvc.yaml: which stages there are, what each reads and writes, and in what order.

dvc.yaml is the only place where a stage is declared; the runner and the DAGs read it from here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import UserError, invalid_yaml

CODE_FOLDER = "pipelines/"


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml. Paths are as written there, relative to the repository's root."""

    name: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    params: tuple[str, ...]
    phase: str | None = None  # `meta: {phase: ...}`, which groups stages in Airflow
    in_git: tuple[str, ...] = ()  # outs with `cache: false`, small enough for Git
    unpushed: tuple[str, ...] = ()  # outs with `push: false`, which no DVC remote gets

    def inputs(self) -> dict[str, Path]:
        """File stem, up to the first dot, -> path of every dependency that is not code."""
        return self._by_stem(path for path in self.deps if not path.startswith(CODE_FOLDER))

    def outputs(self) -> dict[str, Path]:
        """File stem -> path of every output."""
        return self._by_stem(self.outs)

    def _by_stem(self, paths: Iterable[str]) -> dict[str, Path]:
        by_stem: dict[str, Path] = {}
        for path in map(Path, paths):
            stem = path.name.partition(".")[0]
            if stem in by_stem:
                raise UserError(
                    f"dvc.yaml: stage {self.name} has two artifacts named `{stem}` "
                    f"({by_stem[stem]} and {path}): rename one of them"
                )
            by_stem[stem] = path
        return by_stem


def read(path: Path = Path("dvc.yaml")) -> dict[str, Stage]:
    """Stages by name, in the order of dvc.yaml. Raises UserError if the file is not readable."""
    if not path.exists():
        raise UserError(f"{path} is not here: run this from the repository's root")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid_yaml(path, error) from error
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise UserError(f"{path} has no `stages:` section")
    return {name: _stage(path, name, body) for name, body in stages.items()}


def edges(stages: dict[str, Stage]) -> set[tuple[str, str]]:
    """(upstream, downstream) for every output that another stage reads.

    A stage reads an output if it depends on the whole, on a file in it, or on the folder around it.
    """
    pairs: set[tuple[str, str]] = set()
    for upstream in stages.values():
        for downstream in stages.values():
            if upstream is not downstream and _reads(downstream, upstream):
                pairs.add((upstream.name, downstream.name))
    return pairs


def unpushed(stages: dict[str, Stage]) -> list[str]:
    """The outputs that stay on the machine which made them."""
    paths: list[str] = []
    for stage in stages.values():
        paths += stage.unpushed
    return paths


def leading_to(stages: dict[str, Stage], name: str) -> list[str]:
    """The stage and all that it needs, directly or through others, in the order of dvc.yaml."""
    pairs = edges(stages)
    needs = {name}
    while True:
        upstream = {before for before, after in pairs if after in needs}
        if upstream <= needs:
            return [stage for stage in stages if stage in needs]
        needs |= upstream


def _reads(downstream: Stage, upstream: Stage) -> bool:
    for out in upstream.outs:
        if any(_overlap(dep, out) for dep in downstream.deps):
            return True
    return False


def _overlap(first: str, second: str) -> bool:
    """Whether the paths are equal or one is a folder around the other."""
    return f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/")


def _stage(path: Path, name: str, body: Any) -> Stage:
    if not isinstance(body, dict) or "cmd" not in body:
        raise UserError(
            f"{path}:{_line_of(path, name)}: stage {name} has no `cmd`: "
            f"add `cmd: python -m pipelines {name}`"
        )
    outs = [*_paths(body, "outs"), *_paths(body, "metrics"), *_paths(body, "plots")]
    phase = (body.get("meta") or {}).get("phase")
    deps = tuple(_paths(body, "deps"))
    return Stage(
        name,
        deps,
        tuple(outs),
        tuple(_paths(body, "params")),
        phase,
        in_git=tuple(_outs_without(body, "cache")),
        unpushed=tuple(_outs_without(body, "push")),
    )


def _outs_without(body: dict[str, Any], option: str) -> list[str]:
    """Paths of the outputs with `option: false`."""
    paths: list[str] = []
    for kind in ("outs", "metrics", "plots"):
        for entry in body.get(kind) or []:
            if isinstance(entry, dict):
                [(path, options)] = entry.items()
                if (options or {}).get(option) is False:
                    paths.append(path)
    return paths


def _line_of(path: Path, name: str) -> int:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip() == f"{name}:":
            return number
    return 1


def _paths(body: dict[str, Any], kind: str) -> list[str]:
    """The entries of a list of dvc.yaml; an entry with options is a mapping with one key."""
    entries = body.get(kind) or []
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
