"""A stage run by the real DVC: its errors, and a cache on a disk that is too small."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.errors import Unreachable, UserError
from pipelines.runs import stage_process

ROOT = Path(__file__).parents[2]
LARGE_STAGE = """
stages:
  one:
    cmd: mkdir made && for n in 1 2 3 4 5; do head -c 150000 /dev/zero | tr '\\0' $n > made/$n; done
    outs: [made]
"""
REPORT = '{"exit_code": %d, "kind": "UserError", "message": "%s"}'
LOST_OUTPUT = r"DVC could not keep every output of one \(its errors are above\): free some space"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Git repository with DVC, which is the current folder."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    subprocess.run(["git", "init", "--quiet", "."], check=True)
    dvc("init", "--quiet")
    return folder


@pytest.fixture
def small_cache(repository: Path, small_disk: Callable[[int], Path]) -> Path:
    """A DVC cache with room for half of what the repository's one stage makes."""
    cache = small_disk(400)
    dvc("config", "cache.dir", str(cache / "cache"))
    Path("dvc.yaml").write_text(LARGE_STAGE)
    return cache


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True)


def write_stage(command: str) -> None:
    Path("stage.sh").write_text(command)
    Path("dvc.yaml").write_text("stages: {one: {cmd: sh stage.sh}}\n")


def report_and_exit(exit_code: int, message: str) -> str:
    """A command that ends as `python -m pipelines` does with this error."""
    report = REPORT % (exit_code, message)
    return f"echo '{report}' > $PIPELINE_ERROR_FILE; exit {exit_code}"


def test_a_stage_that_fails_raises_its_own_error_and_not_dvcs(repository: Path) -> None:
    write_stage(report_and_exit(1, "params.yaml:3: is wrong"))

    with pytest.raises(UserError, match=r"^params.yaml:3: is wrong$") as error:
        stage_process.reproduce(repository, "one", pull=False)

    assert not isinstance(error.value, Unreachable)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (report_and_exit(75, "Weaviate does not answer"), "^Weaviate does not answer$"),
        ("kill -9 $$", "^stage one was killed by signal 9$"),
    ],
)
def test_a_stage_that_was_killed_or_says_so_may_be_tried_again(
    command: str, message: str, repository: Path
) -> None:
    write_stage(command)

    with pytest.raises(Unreachable, match=message):
        stage_process.reproduce(repository, "one", pull=False)


def test_the_report_of_an_earlier_attempt_is_not_taken_for_this_ones(repository: Path) -> None:
    write_stage(report_and_exit(1, "params.yaml:3: is wrong"))
    with pytest.raises(UserError, match="is wrong"):
        stage_process.reproduce(repository, "one", pull=False)
    write_stage("exit 3")

    with pytest.raises(UserError, match="^stage one ended with exit code 3; its output is above$"):
        stage_process.reproduce(repository, "one", pull=False)


def test_an_error_of_dvc_itself_is_quoted(repository: Path) -> None:
    Path("dvc.yaml").write_text("stages: {one: {cmd: 'true', deps: [absent.txt]}}\n")

    with pytest.raises(UserError, match=r"absent\.txt"):
        stage_process.reproduce(repository, "one", pull=False)


def test_an_output_that_dvc_could_not_keep_is_no_success(small_cache: Path) -> None:
    with pytest.raises(Unreachable, match=LOST_OUTPUT):
        stage_process.reproduce(Path.cwd(), "one", pull=False)
    subprocess.run(["mount", "-o", "remount,size=4000k", str(small_cache)], check=True)
    assert stage_process.reproduce(Path.cwd(), "one", pull=False)
    assert not stage_process.reproduce(Path.cwd(), "one", pull=False)


def test_make_run_reports_an_output_that_dvc_could_not_keep_and_makes_it_again(
    small_cache: Path,
) -> None:
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())

    first = run_pipeline()

    assert first.returncode == 1
    assert "DVC could not keep every result (its errors are above)" in first.stderr
    assert "one:\n\tchanged outs:\n\t\tnot in cache:       made" in first.stderr
    assert "STOPPED" in first.stdout
    subprocess.run(["mount", "-o", "remount,size=4000k", str(small_cache)], check=True)
    second = run_pipeline()
    assert second.returncode == 0
    assert "Running stage 'one'" in second.stdout
    third = run_pipeline()
    assert third.returncode == 0
    assert "nothing changed" in third.stdout


def run_pipeline() -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipelines", "run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)
