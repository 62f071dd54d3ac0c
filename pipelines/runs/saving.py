"""Saves the results of a run: a commit that others can clone, and the data that it names.

Git gets dvc.lock, the small results that dvc.yaml keeps out of DVC's cache, and the pointers of
DVC; the DVC remote gets everything else but what dvc.yaml marks `push: false`.
"""

from pathlib import Path
from typing import NamedTuple

from pipelines import graph
from pipelines.errors import UserError
from pipelines.runs import data
from pipelines.system import git

LOCK = "dvc.lock"
DEFAULT_GIT_REMOTE = "origin"
MAX_NAMES = 10  # of files in a message


class Outcome(NamedTuple):
    """What was done; null where there was nothing to do or nowhere to go."""

    commit: str | None
    num_files: int  # in that commit
    dvc_remote: str | None
    git_remote: str | None
    branch: str | None


def save(why: str) -> Outcome:
    """Commit the results, push the data, then the commit: nobody sees one without its data.

    Safe to repeat: what is done already is not done again. Raises UserError if an input of a stage
    is not committed, or with the words of Git or DVC.
    """
    if not why.strip():
        raise UserError("--why must say something: it is the commit's message")
    if not Path(LOCK).exists():
        raise UserError(f"{LOCK} is not here, so nothing has run that could be saved: `make run`")
    stages = graph.read()
    _require_committed_inputs(stages)
    commit, num_files = _commit(_results(stages), why)
    dvc_remote = _dvc_remote()
    if dvc_remote:
        data.dvc(Path(), "push", "--quiet")
    branch = git.output("branch", "--show-current") or None
    remote = _git_remote(branch)
    if remote and branch:
        _push(remote, branch)
    return Outcome(commit, num_files, dvc_remote, remote if branch else None, branch)


def _require_committed_inputs(stages: dict[str, graph.Stage]) -> None:
    """Raises UserError if a stage read a file that neither Git nor DVC will bring to others."""
    outs = {out for stage in stages.values() for out in stage.outs}
    inputs = {"params.yaml", "dvc.yaml"}
    for stage in stages.values():
        inputs |= {dep for dep in stage.deps if dep not in outs}
    present = sorted(path for path in inputs if Path(path).exists())
    modified_names = git.output(
        "ls-files", "--modified", "--others", "--exclude-standard", "--", *present
    )
    index_names = git.output("diff", "--cached", "--name-only", "HEAD", "--", *present)
    hidden_names = git.output(
        *("ls-files", "--others", "--ignored", "--exclude-standard", "--", *_data_of(present))
    )
    names = {
        *modified_names.splitlines(),
        *index_names.splitlines(),
        *_without_pointer(hidden_names.splitlines()),
    }
    missing = sorted(names - outs)
    if missing:
        examples = ", ".join(missing[:MAX_NAMES])
        rest = f" and {len(missing) - MAX_NAMES} more" if len(missing) > MAX_NAMES else ""
        raise UserError(
            f"stages read files whose present state is in no commit: {examples}{rest}. Whoever "
            "clones this could not repeat the run. Commit them first (`git add`, `git commit`), "
            "or, if they are large, let DVC keep them (`dvc add`)"
        )


def _data_of(paths: list[str]) -> list[str]:
    """The inputs that people fill; Git ignores what Python writes beside code."""
    return [path for path in paths if path.startswith("data/")] or ["data"]


def _without_pointer(paths: list[str]) -> list[str]:
    """The files that no `.dvc` file beside them or above them stands for."""
    bare: list[str] = []
    for name in paths:
        path = Path(name)
        if not any(Path(f"{part}.dvc").exists() for part in (path, *path.parents)):
            bare.append(name)
    return bare


def _results(stages: dict[str, graph.Stage]) -> list[str]:
    """The results that belong into Git, as far as they are here."""
    pointers = git.output("ls-files", "--cached", "--others", "--exclude-standard", "*.dvc")
    names = {LOCK, "models/champion.json", *pointers.splitlines()}
    for stage in stages.values():
        names |= set(stage.in_git)
        # DVC lists its own outputs there.
        names |= {f"{Path(out).parent}/.gitignore" for out in stage.outs}
    return sorted(name for name in names if Path(name).exists())


def _commit(paths: list[str], why: str) -> tuple[str | None, int]:
    """Commit these files alone, whatever else is staged; the commit and its number of files."""
    git.output("add", "--", *paths)
    names = git.output("diff", "--cached", "--name-only", "HEAD", "--", *paths).splitlines()
    if not names:
        return None, 0
    git.output("commit", "--quiet", "--message", why, "--", *names)
    return git.output("rev-parse", "HEAD"), len(names)


def _dvc_remote() -> str | None:
    for line in data.dvc(Path(), "config", "--list").splitlines():
        name, _, value = line.partition("=")
        if name == "core.remote":
            return value
    return None


def _git_remote(branch: str | None) -> str | None:
    """The branch's own remote, else `origin`; None if there is neither."""
    if branch:
        own = git.call("config", f"branch.{branch}.remote").stdout.strip()
        if own:
            return own
    return DEFAULT_GIT_REMOTE if DEFAULT_GIT_REMOTE in git.output("remote").split() else None


def _push(remote: str, branch: str) -> None:
    answer = git.call("push", "--quiet", remote, f"HEAD:refs/heads/{branch}")
    if answer.returncode:
        raise UserError(
            f"the commit is made and the data is pushed, but {branch} was not pushed to {remote}: "
            f"{answer.stderr.strip()}\nIf somebody pushed before: `git pull --rebase`, then the "
            "same command"
        )
