"""The end of a run: its reports stay, the checkouts of the oldest runs go.

If machines share the branches of runs, a last commit on the branch tells the others that the run
has ended, and each removes its own checkout (`forget`).
"""

import shutil

from pipelines import files
from pipelines.errors import Unreachable
from pipelines.runs import data, sharing, work_trees
from pipelines.runs.work_trees import Run, end_mark, lock_file, runs_folder
from pipelines.system import git, locks, paths
from pipelines.system.git import AS_PIPELINE

END_SUBJECT = "The run has ended"  # subject of the last commit of a run that machines share
# Reports that DVC keeps; the others are in Git.
REPORTS = ["data/reports/validation_docs", "data/reports/worst_answers.html"]


def end(run: Run, num_kept: int) -> None:
    """Copy the run's reports to where Airflow's UI reads them, and remove old checkouts.

    The newest `num_kept` checkouts of runs that have ended stay.
    """
    if _has_branch(run):  # else the run's first task failed
        with work_trees.enter(run) as folder:
            _keep_reports(run)
            if run.remote:
                commit = ("commit", "--quiet", "--allow-empty", "--message", END_SUBJECT)
                git.output(*AS_PIPELINE, *commit, folder=folder)
                sharing.synchronise(folder, run.remote, run.branch)
        end_mark(run.name).touch()
    _remove_old(num_kept)


def forget(remote: str, num_kept: int) -> None:
    """Remove the checkouts of runs that ended on another machine, except the newest `num_kept`."""
    for name in open_runs():
        answer = git.call("fetch", "--quiet", remote, f"runs/{name}")
        if answer.returncode == 0 and _last_subject("FETCH_HEAD") == END_SUBJECT:
            end_mark(name).touch()
    _remove_old(num_kept)


def open_runs() -> list[str]:
    """Names of the runs that have a checkout on this machine and have not ended."""
    names: list[str] = []
    for folder in runs_folder().glob("*"):
        if (folder / ".git").exists() and not end_mark(folder.name).exists():
            names.append(folder.name)
    return sorted(names)


def _has_branch(run: Run) -> bool:
    if not run.remote:
        return git.commit_of(run.ref) is not None
    answer = git.call("ls-remote", "--exit-code", run.remote, run.ref)
    if answer.returncode not in (0, 2):  # 2: there is no such branch
        raise Unreachable(f"the Git remote {run.remote} cannot be reached: {answer.stderr.strip()}")
    return answer.returncode == 0


def _keep_reports(run: Run) -> None:
    data.fetch(run.folder, REPORTS)
    reports = run.folder / "data/reports"
    if reports.is_dir():
        with files.replacing(paths.state_folder() / "run_reports" / run.name) as target:
            shutil.copytree(reports, target)


def _last_subject(revision: str) -> str:
    return git.output("log", "-1", "--format=%s", revision)


def _remove_old(num_kept: int) -> None:
    marks = list(runs_folder().glob("*.ended"))
    marks.sort(key=lambda mark: mark.stat().st_mtime, reverse=True)
    for mark in marks[num_kept:]:
        _remove(mark.stem)


def _remove(name: str) -> None:
    """Remove an ended run's checkout unless a task is in it; its branch stays."""
    with locks.exclusive_if_free(lock_file(name)) as is_free:
        if not is_free:
            return
        folder = runs_folder() / name
        git.call("worktree", "remove", "--force", str(folder))
        shutil.rmtree(folder, ignore_errors=True)
        for remnant in runs_folder().glob(f"{name}.*"):
            remnant.unlink()
