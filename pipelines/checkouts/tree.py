"""A run's work tree below `.state/runs/<run>`, on the branch `runs/<run>`: made, entered by each task, recorded after it, removed in the end.

The branch is the run's memory: parameters, dvc.lock and the reports that Git holds. The work tree can be made again from it, here or, when
`airflow.git_remote` names a remote, on another machine.
"""

import configparser
import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines import files, place
from pipelines.checkouts import sharing
from pipelines.checkouts.git import call, git
from pipelines.checkouts.names import run_name
from pipelines.errors import TRY_AGAIN, Unreachable, UserError

ENDED = "The run has ended"  # subject of the last commit of a run that machines share
REPORTS = ["data/reports/validation_docs", "data/reports/worst_answers.html"]  # pages that DVC keeps; the others are in Git


@dataclass(frozen=True)
class Run:
    """One run. `name` is unique in the clone and fit for a file and a branch."""

    name: str
    remote: str | None = None  # Git remote that shares the branch, else None

    @property
    def folder(self) -> Path:
        return place.shared_state() / "runs" / self.name

    @property
    def branch(self) -> str:
        return f"runs/{self.name}"


def named(dag: str, run: str, remote: str | None = None) -> Run:
    """The run that Airflow calls so."""
    return Run(run_name(dag, run), remote)


def start(run: Run, revision: str) -> None:
    """Make branch and work tree at `revision`. Repeatable: a branch that is there already is continued."""
    clone = Path.cwd()
    with _locked("all"):
        if run.remote:
            call(clone, "fetch", "--quiet", run.remote, f"+{run.branch}:{run.branch}")
        if call(clone, "rev-parse", "--verify", "--quiet", f"refs/heads/{run.branch}").returncode:
            git(clone, "branch", "--no-track", run.branch, _commit(revision, run.remote))
        _add(run)


def _commit(revision: str, remote: str | None) -> str:
    """The commit that a person means. Where machines share a remote, its branches and its HEAD come first: this clone is merely one worker's."""
    clone = Path.cwd()
    if remote:
        call(clone, "fetch", "--quiet", "--tags", remote)
    for name in (f"refs/remotes/{remote}/{revision}", revision) if remote else (revision,):
        found = call(clone, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if found.returncode == 0:
            return found.stdout.strip()
    raise UserError(f"revision: {revision!r} is no commit, branch or tag of {f'the Git remote {remote}' if remote else 'this clone'}: see `git log --oneline --all`")


@contextmanager
def entered(run: Run) -> Iterator[Path]:
    """The run's work tree, up to date with its branch, locked against removal while the block runs.

    Tasks of one run share it. Where the branch is shared between machines, a merge may change files under a task's feet, so they take turns.
    """
    clone = Path.cwd()
    with _locked("all"):
        if run.remote and not run.folder.exists():
            git(clone, "fetch", "--quiet", run.remote, f"+{run.branch}:{run.branch}")
        if call(clone, "rev-parse", "--verify", "--quiet", f"refs/heads/{run.branch}").returncode:
            raise UserError(f"there is no branch {run.branch}: the run's first task, `checkout`, makes it; clear that task to begin again")
        _add(run)
    with _locked(run.name, shared=run.remote is None):
        if run.remote:
            git(run.folder, "reset", "--quiet", "--hard")  # what a killed task left; nobody else is in here
            sharing.synchronise(run.folder, run.remote, run.branch)
        yield run.folder


def record(run: Run, paths: list[str], message: str) -> None:
    """Commit `paths` (those that exist and Git does not ignore) on the run's branch, and share it. The caller has entered the run."""
    with _locked(f"{run.name}.commit"):
        known = [path for path in paths if (run.folder / path).exists()]
        changed = git(run.folder, "ls-files", "--others", "--modified", "--exclude-standard", "--", *known).splitlines() if known else []
        if changed:
            git(run.folder, "add", "--", *sorted(set(changed)))
            if call(run.folder, "diff", "--cached", "--quiet").returncode:
                git(run.folder, "commit", "--quiet", "--message", message)
        if run.remote:
            sharing.synchronise(run.folder, run.remote, run.branch)


def end(run: Run, keep: int) -> None:
    """Note that the run has ended, copy its reports to where the UI reads them, and remove the oldest ended checkouts beyond `keep`.

    Where machines share the branch, a line on it tells the others, which remove theirs when they get to know (see `forget`).
    """
    if _has_branch(run):  # else the run's first task failed
        with entered(run) as folder:
            _keep_reports(run)
            if run.remote:
                git(folder, "commit", "--quiet", "--allow-empty", "--message", ENDED)
                sharing.synchronise(folder, run.remote, run.branch)
        _mark(run.name).touch()
    _remove_old(keep)


def _has_branch(run: Run) -> bool:
    if not run.remote:
        return call(Path.cwd(), "rev-parse", "--verify", "--quiet", f"refs/heads/{run.branch}").returncode == 0
    asked = call(Path.cwd(), "ls-remote", "--exit-code", run.remote, f"refs/heads/{run.branch}")
    if asked.returncode not in (0, 2):  # 2: no such branch
        raise Unreachable(f"the Git remote {run.remote} cannot be reached: {asked.stderr.strip()}")
    return asked.returncode == 0


def _keep_reports(run: Run) -> None:
    fetch(run.folder, REPORTS)
    if (run.folder / "data/reports").is_dir():
        with files.replacing(reports_of(run.name)) as target:
            shutil.copytree(run.folder / "data/reports", target)


def forget(remote: str, keep: int) -> None:
    """Remove the checkouts of runs that ended on another machine, but for the `keep` newest."""
    for name in unfinished():
        fetched = call(Path.cwd(), "fetch", "--quiet", remote, f"runs/{name}")
        if fetched.returncode == 0 and git(Path.cwd(), "log", "-1", "--format=%s", "FETCH_HEAD") == ENDED:
            _mark(name).touch()
    _remove_old(keep)


def _remove_old(keep: int) -> None:
    ended = sorted((path for path in _root().glob("*.ended")), key=lambda path: path.stat().st_mtime, reverse=True)
    for mark in ended[keep:]:
        _remove(mark.stem)


def unfinished() -> list[str]:
    """Names of the runs whose checkout is on this machine and that have not ended."""
    return sorted(path.name for path in _root().glob("*") if (path / ".git").exists() and not _mark(path.name).exists())


def reports_of(name: str) -> Path:
    """Where the reports of a run stay after its checkout is gone."""
    return place.shared_state() / "run_reports" / name


def _add(run: Run) -> None:
    clone = Path.cwd()
    git(clone, "worktree", "prune")
    if not (run.folder / ".git").exists():
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        git(clone, "worktree", "add", "--quiet", str(run.folder), run.branch)
    if not (run.folder / ".dvc/config.local").exists():
        _configure(run.folder, clone)
        materialise(run.folder)
    _mark(run.name).unlink(missing_ok=True)


def _configure(folder: Path, clone: Path) -> None:
    """Let the work tree's DVC use the clone's cache and remotes, whose paths may be relative to the clone, and keep its own state inside."""
    settings = configparser.ConfigParser(interpolation=None)
    settings["cache"] = {"dir": dvc(clone, "cache", "dir").strip()}
    settings["core"] = {"site_cache_dir": str(folder / ".dvc/tmp/site")}
    for line in dvc(clone, "config", "--list").splitlines():
        name, _, value = line.partition("=")
        kind, _, rest = name.partition(".")
        if kind == "remote":
            remote, _, key = rest.rpartition(".")
            settings.setdefault(f"'remote \"{remote}\"'", {})  # type: ignore[arg-type]
            settings[f"'remote \"{remote}\"'"][key] = value
        elif name == "core.remote":
            settings["core"]["remote"] = value
    target = folder / ".dvc/config.local"
    temporary = target.with_suffix(".new")
    temporary.touch(mode=0o600)
    with temporary.open("w", encoding="utf-8") as out:
        settings.write(out)
    temporary.rename(target)


def materialise(folder: Path) -> None:
    """Bring what dvc.lock and `.dvc` files name (results, the champion, documents that somebody added) from the cache; where machines share data, from the remote.

    Of results, a task of a shared run brings those that it reads; the rest may be on another machine.
    """
    if default_remote(folder):
        added = git(folder, "ls-files", "*.dvc").splitlines()
        if added:
            dvc(folder, "pull", "--quiet", *added)
    elif (folder / "dvc.lock").exists() or list(folder.glob("**/*.dvc")):
        dvc(folder, "checkout", "--quiet", "--allow-missing")


def fetch(folder: Path, paths: list[str]) -> None:
    """Where machines share data, bring these outputs here if the run has made them."""
    if default_remote(folder):
        dvc(folder, "pull", "--quiet", "--allow-missing", *paths)


def default_remote(folder: Path) -> str | None:
    """Name of the DVC remote through which machines share data; None where there is none."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(folder / ".dvc/config.local", encoding="utf-8")
    return settings.get("core", "remote", fallback=None)


def dvc(folder: Path, *arguments: str) -> str:
    """Output of a `dvc` command that is short. Raises UserError with what DVC said."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"dvc {' '.join(arguments)} in {folder} failed: {done.stderr.strip()}")
    return done.stdout


def pipelines(folder: Path, *arguments: str) -> None:
    """`python -m pipelines ...` of the checkout's own code, in it; what it prints is printed. Raises its error: Unreachable where it may work later."""
    done = subprocess.run([sys.executable, "-m", "pipelines", *arguments], cwd=folder, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        said = done.stderr.strip() or f"python -m pipelines {arguments[0]} ended with exit code {done.returncode}"
        raise (Unreachable if done.returncode == TRY_AGAIN or done.returncode < 0 else UserError)(said)


def _remove(name: str) -> None:
    """Remove an ended checkout unless a task is in it; its branch stays."""
    with (_root() / f"{name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        call(Path.cwd(), "worktree", "remove", "--force", str(_root() / name))
        shutil.rmtree(_root() / name, ignore_errors=True)
        for left in _root().glob(f"{name}.*"):
            left.unlink()


@contextmanager
def _locked(name: str, shared: bool = False) -> Iterator[None]:
    _root().mkdir(parents=True, exist_ok=True)
    with (_root() / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def _root() -> Path:
    return place.shared_state() / "runs"


def _mark(name: str) -> Path:
    return _root() / f"{name}.ended"
