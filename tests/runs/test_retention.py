import subprocess
from pathlib import Path

import pytest

from pipelines.runs import retention, work_trees
from pipelines.runs.work_trees import Run
from pipelines.system import locks


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Git repository, which is the current folder."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add_checkout(name: str) -> Path:
    """A folder as a run's checkout has it."""
    folder = Run(name).folder
    folder.mkdir(parents=True)
    (folder / ".git").touch()
    return folder


def test_a_run_is_open_until_it_ends(repository: Path) -> None:
    add_checkout("train-b")
    add_checkout("train-a")
    add_checkout("train-c")
    work_trees.end_mark("train-c").touch()

    assert retention.open_runs() == ["train-a", "train-b"]


def test_a_checkout_in_which_a_task_works_is_not_removed(repository: Path) -> None:
    busy = add_checkout("train-busy")
    idle = add_checkout("train-idle")
    for name in ("train-busy", "train-idle"):
        work_trees.end_mark(name).touch()

    with locks.shared(work_trees.lock_file("train-busy")):
        retention.end(Run("train-without-a-branch"), num_kept=0)

    assert busy.exists()
    assert not idle.exists()
