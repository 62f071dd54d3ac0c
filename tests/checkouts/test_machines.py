"""A run whose tasks are done by two machines: two clones with caches of their own, a bare Git repository and a folder as DVC remote between them."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.conftest import end
from tests.end_to_end.test_pipeline import change, environment, make_workspace


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def checkout(folder: Path, *words: str, run: str = "one") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipelines", "checkout", words[0], "--dag", "train", "--run-id", run, *words[1:]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), timeout=300)


@pytest.fixture
def machines(tmp_path: Path) -> list[Path]:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    make_workspace(first)
    change(first, {"airflow.git_remote": "shared", "airflow.keep_checkouts": 0})
    (first / ".dvc/config").write_text((first / ".dvc/config").read_text() + f"    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'store'}\n")
    git(first, "commit", "-qam", "shared")
    git(first, "clone", "-q", "--bare", ".", str(tmp_path / "shared.git"))
    git(tmp_path, "clone", "-q", str(tmp_path / "shared.git"), str(second))
    shutil.copytree(first / ".state", second / ".state", symlinks=True)
    for folder in (first, second):
        git(folder, "remote", "add", "shared", str(tmp_path / "shared.git"))
    return [first, second]


def test_each_task_finds_what_the_other_machine_made(machines: list[Path]) -> None:
    first, second = machines
    try:
        for folder, words in ((first, ["start", "--who", "t"]), (first, ["stage", "--name", "ingest"]), (second, ["stage", "--name", "redact"]), (first, ["stage", "--name", "validate"])):
            done = checkout(folder, *words)
            assert done.returncode == 0, done.stderr + done.stdout
        with ThreadPoolExecutor() as pool:  # at once, as Airflow would
            both = [pool.submit(checkout, folder, "stage", "--name", name) for folder, name in ((first, "chunk"), (second, "base"))]
        for done in (future.result() for future in both):
            assert done.returncode == 0, done.stderr + done.stdout

        again = checkout(second, "stage", "--name", "chunk")

        assert again.returncode == 99, again.stderr + again.stdout  # nothing to do: the other machine did it
        assert (second / ".state/runs/train-one/data/chunks.parquet").exists()
        lock = yaml.safe_load(git(second, "show", "shared/runs/train-one:dvc.lock"))
        assert set(lock["stages"]) == {"ingest", "redact", "validate", "chunk", "base"}
        assert json.loads(git(second, "show", "runs/train-one:data/reports/validation.json"))["passed"] is True
        check_the_end(first, second)
    finally:
        for folder in machines:
            end(folder)


def check_the_end(first: Path, second: Path) -> None:
    """The machine that ends the run keeps its reports, whoever made them; the other one removes its checkout when it gets to know. A later run begins at the remote's newest commit and takes over what was made."""
    done = checkout(second, "end")
    assert done.returncode == 0, done.stderr
    assert (second / ".state/run_reports/train-one/validation.json").exists()
    assert (first / ".state/runs/train-one").exists()
    git(second, "commit", "-q", "--allow-empty", "-m", "newer")
    git(second, "push", "-q", "shared", "HEAD:newest")

    done = checkout(first, "start", "--revision", "newest", run="two")

    assert done.returncode == 0, done.stderr
    assert not (first / ".state/runs/train-one").exists()
    assert "newer" in git(first, "log", "--format=%s", "runs/train-two")
    assert "Take over the results of shared/runs/train-one" in git(first, "log", "--format=%s", "runs/train-two")


def test_a_remote_that_does_not_answer_may_be_tried_again(machines: list[Path]) -> None:
    first, _ = machines
    assert checkout(first, "start", "--who", "t").returncode == 0
    git(first, "remote", "set-url", "shared", str(first / "nowhere.git"))

    done = checkout(first, "stage", "--name", "ingest")

    assert done.returncode == 75
    assert "the Git remote shared cannot be reached" in done.stderr
