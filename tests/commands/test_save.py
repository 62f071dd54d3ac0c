"""What `save` pushes reaches a stranger: real Git, a real DVC remote, an empty folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import graph
from pipelines.commands import run as run_command
from pipelines.commands import save
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]
DVC_FILE = """
stages:
  ingest:
    cmd: mkdir -p data/reports && cp data/raw/a.txt data/converted.parquet && echo 1 > data/n.json
    deps: [data/raw]
    outs:
      - data/converted.parquet:
          push: false
    metrics:
      - data/n.json:
          cache: false
  redact:
    cmd: sed s/ada@home/xxx/ data/converted.parquet > data/documents.parquet
    deps: [data/converted.parquet]
    outs: [data/documents.parquet]
  index:
    cmd: echo '{}' > data/index.json
    deps: [data/documents.parquet]
    outs:
      - data/index.json:
          cache: false
  export:
    cmd: mkdir -p models/triton && cp data/documents.parquet models/triton/model
    deps: [data/documents.parquet]
    outs: [models/triton]
"""


def call(folder: Path, *words: str) -> str:
    process = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def dvc(folder: Path, *words: str) -> str:
    return call(folder, sys.executable, "-m", "dvc", *words)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose pipeline has run, with an empty Git remote and an empty DVC remote."""
    folder = tmp_path / "clone"
    call(tmp_path, "git", "init", "-q", "--bare", "shared.git")
    call(tmp_path, "git", "init", "-q", "-b", "main", "clone")
    for key, value in (("name", "ada"), ("email", "ada@example.org")):
        call(folder, "git", "config", f"user.{key}", value)
    call(folder, "git", "remote", "add", "origin", str(tmp_path / "shared.git"))
    dvc(folder, "init", "-q")
    dvc(folder, "remote", "add", "-q", "--default", "store", str(tmp_path / "store"))
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/a.txt").write_text("write to ada@home\n")
    (folder / "params.yaml").write_text("a: 1\n")
    (folder / "dvc.yaml").write_text(DVC_FILE)
    (folder / "models").mkdir()
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "start")
    dvc(folder, "repro", "--quiet")
    monkeypatch.chdir(folder)
    return folder


def test_a_stranger_gets_models_index_and_reports_back_without_a_run(
    clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clone / "mine.txt").write_text("not a result")
    call(clone, "git", "add", "mine.txt")

    save.run(why="the first results")

    report = capsys.readouterr().out
    assert "pushed the data to the DVC remote store\n  data/converted.parquet stays here" in report
    assert "pushed main to the Git remote origin" in report
    assert call(clone, "git", "status", "--porcelain") == "A  mine.txt\n"
    stored = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert stored
    assert not any(b"ada@home" in content for content in stored)
    stranger = tmp_path / "stranger"
    call(tmp_path, "git", "clone", "-q", "-b", "main", "shared.git", "stranger")
    dvc(stranger, "pull", "--allow-missing")
    assert (stranger / "models/triton/model").read_text() == "write to xxx\n"
    for name in ("data/index.json", "data/n.json", "data/documents.parquet"):
        assert (stranger / name).read_bytes() == (clone / name).read_bytes()
    status = dvc(stranger, "status", "--json")
    assert not run_command.has_changed(status, ["data/converted.parquet"])
    assert run_command.has_changed(status, [])
    # The same command again has nothing left to do.
    save.run(why="again")
    assert "nothing to commit" in capsys.readouterr().out


def test_without_remotes_the_commit_is_made_and_the_rest_is_said(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(clone, "git", "remote", "remove", "origin")
    dvc(clone, "remote", "remove", "store")
    call(clone, "git", "commit", "-qam", "no remote")
    save.run(why="mine alone")
    report = capsys.readouterr().out
    assert "there is no DVC remote" in report
    assert "there is no Git remote" in report
    assert call(clone, "git", "log", "-1", "--format=%an %s") == "ada mine alone\n"


@pytest.mark.parametrize("name", ["params.yaml", "data/raw/new.txt", "data/raw/ignored.txt"])
def test_an_input_that_no_commit_holds_is_named_and_nothing_is_committed(
    name: str, clone: Path
) -> None:
    (clone / ".git/info/exclude").write_text("ignored.txt\n")
    (clone / name).write_text("b: 2\n")
    with pytest.raises(UserError, match=f"present state is in no commit: {name}. Whoever clones"):
        save.run(why="w")
    assert call(clone, "git", "log", "-1", "--format=%s") == "start\n"


def test_a_push_that_lost_the_race_says_what_to_do(clone: Path, tmp_path: Path) -> None:
    call(clone, "git", "push", "-q", "origin", "main")
    call(tmp_path, "git", "clone", "-q", "-b", "main", "shared.git", "other")
    author = ("-c", "user.name=b", "-c", "user.email=b@example.org")
    call(tmp_path / "other", "git", *author, "commit", "-q", "--allow-empty", "-m", "first")
    call(tmp_path / "other", "git", "push", "-q")
    with pytest.raises(UserError, match="main was not pushed to origin(.|\n)*git pull --rebase"):
        save.run(why="w")


def test_without_a_run_or_a_reason_there_is_nothing_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="dvc.lock is not here"):
        save.run(why="w")
    with pytest.raises(UserError, match="--why must say something"):
        save.run(why=" ")


@pytest.mark.parametrize(
    "status",
    [
        {"a": [{"changed deps": {"data/chunks.parquet": "modified"}}]},
        {"a": [{"changed deps": {"params.yaml": {"gate": "modified"}}}]},
        {"a": ["changed command"]},
        {"a": [{"changed outs": {"models/base": "deleted"}}]},
    ],
)
def test_every_change_but_a_missing_unpushed_output_is_one(status: object) -> None:
    assert run_command.has_changed(json.dumps(status), ["data/converted.parquet"])


def test_what_documents_hold_before_redaction_is_not_pushed() -> None:
    assert graph.unpushed(graph.read(ROOT / "dvc.yaml")) == ["data/converted.parquet"]
