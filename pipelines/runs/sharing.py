"""Shares a run's branch between machines: each task fetches, merges and pushes it.

Tasks of one run write different files, except for dvc.lock, which is merged stage by stage.
"""

from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import Unreachable, UserError
from pipelines.system import git
from pipelines.system.git import AS_PIPELINE

NUM_ATTEMPTS = 20  # pushes; another task may push first
# Git's words for a push that lost the race against another one.
LOST_RACES = (
    "non-fast-forward",
    "fetch first",
    "cannot lock ref",
    "failed to update ref",
    "reference already exists",
)
ENGLISH = {"LC_ALL": "C"}  # the language of Git's messages
Stages = dict[str, Any]


def synchronise(folder: Path, remote: str, branch: str) -> None:
    """Merge what other machines pushed, then push.

    Raises Unreachable if the remote does not answer.
    """
    for _ in range(NUM_ATTEMPTS):
        _fetch_and_merge(folder, remote, branch)
        if _push(folder, remote, branch):
            return
    raise Unreachable(
        f"the branch {branch} could not be pushed to {remote} in {NUM_ATTEMPTS} attempts: "
        "other tasks keep pushing"
    )


def _fetch_and_merge(folder: Path, remote: str, branch: str) -> None:
    answer = git.call("fetch", "--quiet", remote, branch, folder=folder, environment=ENGLISH)
    if answer.returncode == 0:
        _merge(folder, "FETCH_HEAD")
    elif "find remote ref" not in answer.stderr:  # else the branch was never pushed
        raise Unreachable(
            f"the Git remote {remote} cannot be reached: {answer.stderr.strip()}. "
            f"Check `git fetch {remote}`; see airflow.git_remote in params.yaml"
        )


def _push(folder: Path, remote: str, branch: str) -> bool:
    """Whether the push succeeded; False if another task pushed first."""
    push = ("push", "--quiet", remote, f"HEAD:refs/heads/{branch}")
    answer = git.call(*AS_PIPELINE, *push, folder=folder, environment=ENGLISH)
    if answer.returncode == 0:
        return True
    if any(reason in answer.stderr for reason in LOST_RACES):
        return False
    raise Unreachable(f"the branch {branch} cannot be pushed to {remote}: {answer.stderr.strip()}")


def _merge(folder: Path, revision: str) -> None:
    merge = ("merge", "--quiet", "--no-edit", revision)
    if git.call(*AS_PIPELINE, *merge, folder=folder).returncode == 0:
        return
    conflicts = git.output("diff", "--name-only", "--diff-filter=U", folder=folder).splitlines()
    if conflicts != ["dvc.lock"]:
        git.call("merge", "--abort", folder=folder)
        names = ", ".join(conflicts) or "files that are changed here too"
        raise UserError(
            f"the run's branch was changed on another machine in {names}: "
            f"see `git log {revision}`; start the run anew"
        )
    ancestor = git.output("merge-base", "HEAD", revision, folder=folder)
    stages = merge_stages(
        _stages_at(ancestor, folder), _stages_at("HEAD", folder), _stages_at(revision, folder)
    )
    lock = {"schema": "2.0", "stages": stages}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    git.output("add", "dvc.lock", folder=folder)
    git.output(*AS_PIPELINE, "commit", "--quiet", "--no-edit", folder=folder)


def merge_stages(ancestor: Stages, ours: Stages, theirs: Stages) -> Stages:
    """Each stage's entry of dvc.lock from the side that changed it.

    Raises UserError if both sides changed one, differently.
    """
    stages: Stages = {}
    for name in sorted(ours.keys() | theirs.keys()):
        before = ancestor.get(name)
        our_entry = ours.get(name)
        their_entry = theirs.get(name)
        if our_entry != their_entry and before not in (our_entry, their_entry):
            raise UserError(
                f"dvc.lock: stage {name} was run on two machines with different results: "
                "start the run anew"
            )
        entry = their_entry if our_entry == before else our_entry
        if entry is not None:
            stages[name] = entry
    return stages


def _stages_at(revision: str, folder: Path) -> Stages:
    """The stages of dvc.lock at a revision; none if there is no dvc.lock."""
    text = git.file_at(revision, "dvc.lock", folder)
    content = yaml.safe_load(text) if text else None
    stages: Stages = (content or {}).get("stages") or {}
    return stages
