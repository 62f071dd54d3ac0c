"""The Git work tree of a run, `.state/runs/<run>`, on the branch `runs/<run>`.

The first task makes it, each task enters it and commits its results there. The branch is the run's
memory: parameters, dvc.lock and the reports that Git holds. The work tree can be made again from
it, here or, if `airflow.git_remote` names a remote, on another machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.runs import data, revisions, sharing
from pipelines.runs.names import run_name
from pipelines.system import git, locks, paths
from pipelines.system.git import AS_PIPELINE


@dataclass(frozen=True)
class Run:
    """One run. `name` is unique in the clone and valid as a file name and as a branch name."""

    name: str
    remote: str | None = None  # Git remote through which machines share the branch

    @property
    def folder(self) -> Path:
        return runs_folder() / self.name

    @property
    def branch(self) -> str:
        return f"runs/{self.name}"

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"


def run_of(dag: str, run_id: str, remote: str | None = None) -> Run:
    """The run with this id in Airflow."""
    return Run(run_name(dag, run_id), remote)


def runs_folder() -> Path:
    return paths.state_folder() / "runs"


def lock_file(name: str) -> Path:
    """The lock of a run's work tree; `all` is the lock of the clone's list of work trees."""
    return runs_folder() / f"{name}.lock"


def end_mark(name: str) -> Path:
    """The file that says that a run has ended."""
    return runs_folder() / f"{name}.ended"


def start(run: Run, revision: str) -> None:
    """Make branch and work tree at `revision`; a branch that exists already is continued.

    Raises Refusal if the code there was not reviewed.
    """
    with locks.exclusive(lock_file("all")):
        if run.remote:
            git.call("fetch", "--quiet", run.remote, f"+{run.branch}:{run.branch}")
        commit = git.commit_of(run.ref)
        if commit is None:
            commit = revisions.resolve_reviewed(revision, run.remote)
            git.output("branch", "--no-track", run.branch, commit)
        elif run.remote:
            revisions.require_reviewed_code(run.branch, commit, run.remote)
        _add_work_tree(run)


@contextmanager
def enter(run: Run) -> Iterator[Path]:
    """The run's work tree, up to date with its branch; it is not removed while the block runs.

    Tasks of one run share it. If machines share the branch, tasks take turns, because a merge may
    change files while a task reads them.
    """
    with locks.exclusive(lock_file("all")):
        if run.remote and not run.folder.exists():
            git.output("fetch", "--quiet", run.remote, f"+{run.branch}:{run.branch}")
        commit = git.commit_of(run.ref)
        if commit is None:
            raise UserError(
                f"there is no branch {run.branch}. The run's first task, `checkout`, makes it: "
                "clear that task to begin again"
            )
        if run.remote and not run.folder.exists():
            revisions.require_reviewed_code(run.branch, commit, run.remote)
        _add_work_tree(run)
    hold = locks.exclusive if run.remote else locks.shared
    with hold(lock_file(run.name)):
        if run.remote:
            # A task that was killed may have left changes; nobody else is in here.
            git.output("reset", "--quiet", "--hard", folder=run.folder)
            _synchronise(run, run.remote)
        yield run.folder


def record(run: Run, files: list[str], message: str) -> None:
    """Commit these files on the run's branch and share it. The caller has entered the run.

    Files that do not exist or that Git ignores are left out.
    """
    with locks.exclusive(lock_file(f"{run.name}.commit")):
        changes = _changed_files(run.folder, files)
        if changes:
            git.output("add", "--", *changes, folder=run.folder)
            if git.call("diff", "--cached", "--quiet", folder=run.folder).returncode:
                commit = ("commit", "--quiet", "--message", message)
                git.output(*AS_PIPELINE, *commit, folder=run.folder)
        if run.remote:
            _synchronise(run, run.remote)


def _synchronise(run: Run, remote: str) -> None:
    """Merge and push the run's branch. Raises Refusal if somebody has pushed code to it."""
    sharing.synchronise(run.folder, remote, run.branch)
    commit = git.output("rev-parse", "HEAD", folder=run.folder)
    revisions.require_reviewed_code(run.branch, commit, remote)


def _changed_files(folder: Path, files: list[str]) -> list[str]:
    present = [file for file in files if (folder / file).exists()]
    if not present:
        return []
    options = ("--others", "--modified", "--exclude-standard")
    listing = git.output("ls-files", *options, "--", *present, folder=folder)
    return sorted(set(listing.splitlines()))


def _add_work_tree(run: Run) -> None:
    """Make the work tree unless it is there. The caller holds the lock `all`."""
    git.output("worktree", "prune")
    if not (run.folder / ".git").exists():
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        git.output(*AS_PIPELINE, "worktree", "add", "--quiet", str(run.folder), run.branch)
    if not data.is_configured(run.folder):
        data.configure(run.folder, Path.cwd())
        data.materialise(run.folder)
    end_mark(run.name).unlink(missing_ok=True)
