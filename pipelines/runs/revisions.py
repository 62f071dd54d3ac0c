"""Which commit a run works on, and whether its code was reviewed.

A task runs the code of its commit, with all that the worker has. So the commit has to lie on a
branch that `airflow.branches` of the protected branch's params.yaml names, or on the protected
branch itself: the main branch of the Git remote that machines share or, on one machine, the commit
that the clone has checked out. What a tag names has to lie on such a branch too, since whoever may
push can make a tag.
"""

import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

from pipelines.config import params
from pipelines.config.airflow import AirflowConfig
from pipelines.config.params import Params
from pipelines.errors import Refusal, Unreachable, UserError
from pipelines.system import git

PARAMS = "params.yaml"
HEADS = "refs/heads/"
# Where a run's own branch differs from the commit that it began with.
RESULTS = (PARAMS, "dvc.lock", "data", "models")


def resolve(revision: str, remote: str | None) -> str:
    """The commit that a person means by `revision`.

    If machines share a remote, its branches and its HEAD come first: this clone belongs to one
    worker of many.
    """
    names = [revision]
    if remote:
        git.call("fetch", "--quiet", "--tags", remote)
        names.insert(0, f"refs/remotes/{remote}/{revision}")
    for name in names:
        commit = git.commit_of(name)
        if commit:
            return commit
    owner = f"the Git remote {remote}" if remote else "this clone"
    raise UserError(
        f"revision: {revision!r} is not a commit, branch or tag of {owner}: "
        "see `git log --oneline --all`"
    )


def resolve_reviewed(revision: str, remote: str | None) -> str:
    """As `resolve`. Raises Refusal if the commit lies on no branch that runs may work on."""
    commit = resolve(revision, remote)
    protected = protected_commit(remote)
    patterns = _patterns(protected)
    if any(_contains(tip, commit) for tip in _tips(protected, patterns, remote)):
        return commit
    raise Refusal(
        f"refused, nothing has run: revision: {revision!r} ({commit[:12]}) lies neither on the "
        f"protected branch nor on one that airflow.branches names there ({_listing(patterns)}), so "
        "nobody has reviewed its code: merge it into one of them, or add the name of its branch to "
        f"airflow.branches of {PARAMS} on the protected branch, by a reviewed commit"
    )


def require_reviewed_code(branch: str, commit: str, remote: str) -> None:
    """Raises Refusal if a run's shared branch has more than results beyond a reviewed commit.

    Whoever may push can push to it.
    """
    protected = protected_commit(remote)
    patterns = _patterns(protected)
    exempt = [f":(exclude,top){path}" for path in RESULTS]
    foreign: list[str] = []
    for tip in _tips(protected, patterns, remote):
        if git.call("merge-base", tip, commit).returncode:
            continue  # nothing in common
        changes = git.output("diff", "--name-only", f"{tip}...{commit}", "--", ":/", *exempt)
        if not changes:
            return
        foreign = foreign or changes.splitlines()
    files = ", ".join(foreign[:3]) or "all of it"
    raise Refusal(
        f"refused: the branch {branch} has code that is on no branch of airflow.branches "
        f"({_listing(patterns)}): {files}. Somebody has pushed it there: see "
        f"`git log {commit[:12]}`, and start a new run"
    )


def protected_commit(remote: str | None) -> str:
    """The newest commit of the protected branch."""
    return resolve("HEAD", remote)


def params_at(commit: str) -> Params:
    """params.yaml of the protected branch. Raises UserError if it is not valid there."""
    text = git.file_at(commit, PARAMS)
    if text is None:
        raise UserError(
            f"{PARAMS} is missing at {commit[:12]} of the protected branch, so a run's values "
            "cannot be held against it: commit the file there"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_text(text, encoding="utf-8")
        try:
            return params.load(path)
        except UserError as error:
            problem = str(error).replace(str(path), f"{PARAMS} at {commit[:12]}")
            raise UserError(f"the protected branch is at fault: {problem}") from error


def _patterns(protected: str) -> list[str]:
    return params_at(protected).section(AirflowConfig).branches


def _tips(protected: str, patterns: list[str], remote: str | None) -> list[str]:
    """The newest commits of the protected branch and of those that the patterns name.

    The remote itself is asked, since this clone may still know a branch that was removed there.
    """
    if remote:
        answer = git.call("ls-remote", "--heads", remote)
        if answer.returncode:
            raise Unreachable(
                f"the Git remote {remote} cannot be reached: {answer.stderr.strip()}. "
                f"Check `git fetch {remote}`; see airflow.git_remote in {PARAMS}"
            )
        lines = answer.stdout.splitlines()
    else:
        lines = git.output("for-each-ref", "--format=%(objectname)\t%(refname)", HEADS).splitlines()
    tips = [protected]
    for line in lines:
        commit, _, ref = line.partition("\t")
        name = ref.removeprefix(HEADS)
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            tips.append(commit)
    return tips


def _contains(tip: str, commit: str) -> bool:
    """Whether a commit lies on the branch that ends at `tip`; a tip that is not here has none."""
    return git.call("merge-base", "--is-ancestor", commit, tip).returncode == 0


def _listing(patterns: list[str]) -> str:
    return ", ".join(patterns) or "none"
