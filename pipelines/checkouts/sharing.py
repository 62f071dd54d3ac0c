"""A run's branch shared between machines: each task fetches, merges and pushes it. Tasks of a run write different files but one dvc.lock."""

from pathlib import Path
from typing import Any

import yaml

from pipelines.checkouts.git import call, git, show
from pipelines.errors import Unreachable, UserError

ATTEMPTS = 20  # pushes that another task may forestall


def synchronise(folder: Path, remote: str, branch: str) -> None:
    """Merge what other machines pushed, then push. Raises Unreachable where the remote does not answer."""
    for _ in range(ATTEMPTS):
        fetched = call(folder, "fetch", "--quiet", remote, branch)
        if fetched.returncode == 0:
            _merge(folder, "FETCH_HEAD")
        elif "find remote ref" not in fetched.stderr:
            raise Unreachable(f"the Git remote {remote} cannot be reached: {fetched.stderr.strip()}. Check `git fetch {remote}`; see airflow.git_remote in params.yaml")
        pushed = call(folder, "push", "--quiet", remote, f"HEAD:refs/heads/{branch}")
        if pushed.returncode == 0:
            return
        if not any(word in pushed.stderr for word in ("non-fast-forward", "fetch first", "cannot lock ref", "failed to update ref", "reference already exists")):
            raise Unreachable(f"the branch {branch} cannot be pushed to {remote}: {pushed.stderr.strip()}")
    raise Unreachable(f"the branch {branch} could not be pushed to {remote} in {ATTEMPTS} attempts: other tasks keep pushing")


def _merge(folder: Path, other: str) -> None:
    if call(folder, "merge", "--quiet", "--no-edit", other).returncode == 0:
        return
    conflicts = git(folder, "diff", "--name-only", "--diff-filter=U").splitlines()
    if conflicts != ["dvc.lock"]:
        call(folder, "merge", "--abort")
        raise UserError(f"the run's branch was changed on another machine in {', '.join(conflicts) or 'files that are changed here too'}: see `git log {other}`; start the run anew")
    ancestor = git(folder, "merge-base", "HEAD", other)
    locks = [_stages(show(folder, revision, "dvc.lock")) for revision in (ancestor, "HEAD", other)]
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": merged(*locks)}, sort_keys=False), encoding="utf-8")
    git(folder, "add", "dvc.lock")
    git(folder, "commit", "--quiet", "--no-edit")


def merged(ancestor: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Each stage's entry from the side that changed it. Raises UserError where both did, differently."""
    result = {}
    for stage in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(stage), theirs.get(stage)
        if mine != other and ancestor.get(stage) not in (mine, other):
            raise UserError(f"dvc.lock: stage {stage} was run on two machines with different results: start the run anew")
        chosen = other if mine == ancestor.get(stage) else mine
        if chosen is not None:
            result[stage] = chosen
    return result


def _stages(text: str | None) -> dict[str, Any]:
    found: dict[str, Any] = (yaml.safe_load(text) or {}).get("stages") or {} if text else {}
    return found
