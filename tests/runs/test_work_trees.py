"""A run whose tasks are done by two machines.

They are two clones with caches of their own; a bare Git repository and a folder as DVC remote are
between them.
"""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.conftest import end_processes_below
from tests.end_to_end.test_pipeline import change, environment, make_workspace


class Machines(NamedTuple):
    first: Path
    second: Path


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return process.stdout


def checkout(
    folder: Path, action: str, *options: str, run: str = "one"
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipelines", "checkout", action]
    command += ["--dag", "train", "--run-id", run, *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment(), timeout=300
    )


def expect_success(process: "subprocess.CompletedProcess[str]") -> None:
    assert process.returncode == 0, process.stderr + process.stdout


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    first = tmp_path / "first"
    second = tmp_path / "second"
    remote = str(tmp_path / "shared.git")
    first.mkdir()
    make_workspace(first)
    change(first, {"airflow.git_remote": "shared", "airflow.keep_checkouts": 0})
    with (first / ".dvc/config").open("a") as config:
        config.write(f"    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'store'}\n")
    git(first, "commit", "-qam", "shared")
    git(first, "clone", "-q", "--bare", ".", remote)
    git(tmp_path, "clone", "-q", remote, str(second))
    shutil.copytree(first / ".state", second / ".state", symlinks=True)
    for folder in (first, second):
        git(folder, "remote", "add", "shared", remote)
    return Machines(first, second)


def test_each_task_continues_from_the_results_of_the_other_machine(machines: Machines) -> None:
    first, second = machines
    try:
        expect_success(checkout(first, "start", "--who", "t"))
        expect_success(checkout(first, "stage", "--name", "ingest"))
        expect_success(checkout(second, "stage", "--name", "redact"))
        expect_success(checkout(first, "stage", "--name", "validate"))
        with ThreadPoolExecutor() as pool:  # at once, as Airflow would
            chunk = pool.submit(checkout, first, "stage", "--name", "chunk")
            base = pool.submit(checkout, second, "stage", "--name", "base")
        expect_success(chunk.result())
        expect_success(base.result())

        # There is nothing to do, because the other machine did it.
        process = checkout(second, "stage", "--name", "chunk")

        assert process.returncode == 99, process.stderr + process.stdout
        assert (second / ".state/runs/train-one/data/chunks.parquet").exists()
        lock = yaml.safe_load(git(second, "show", "shared/runs/train-one:dvc.lock"))
        assert set(lock["stages"]) == {"ingest", "redact", "validate", "chunk", "base"}
        report = git(second, "show", "runs/train-one:data/reports/validation.json")
        assert json.loads(report)["passed"] is True
        check_the_end(machines)
    finally:
        for folder in machines:
            end_processes_below(folder)


def check_the_end(machines: Machines) -> None:
    """The machine that ends the run keeps its reports, whichever machine wrote them.

    The other one removes its checkout at its next task. A later run begins at the remote's newest
    commit and takes over the results.
    """
    first, second = machines
    expect_success(checkout(second, "end"))
    assert (second / ".state/run_reports/train-one/validation.json").exists()
    assert (first / ".state/runs/train-one").exists()
    git(second, "commit", "-q", "--allow-empty", "-m", "newer")
    git(second, "push", "-q", "shared", "HEAD:newest")

    expect_success(checkout(first, "start", "--revision", "newest", run="two"))

    assert not (first / ".state/runs/train-one").exists()
    history = git(first, "log", "--format=%s", "runs/train-two")
    assert "newer" in history
    assert "Take over the results of shared/runs/train-one" in history


def test_a_remote_that_does_not_answer_may_be_tried_again(machines: Machines) -> None:
    first = machines.first
    expect_success(checkout(first, "start", "--who", "t"))
    git(first, "remote", "set-url", "shared", str(first / "nowhere.git"))

    process = checkout(first, "stage", "--name", "ingest")

    assert process.returncode == 75
    assert "the Git remote shared cannot be reached" in process.stderr
