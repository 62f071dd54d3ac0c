"""Which commits a run may work on: real Git repositories, with and without a shared remote."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from pipelines.config.protection import differences
from pipelines.errors import Refusal, Unreachable
from pipelines.runs import revisions
from tests.end_to_end.test_pipeline import environment

ROOT = Path(__file__).parents[2]
REMOTE = "shared"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return process.stdout.strip()


def write_params(folder: Path, branches: list[str], **airflow: Any) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["airflow"] |= {"branches": branches, **airflow}
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def commit(folder: Path, file: str, text: str = "x") -> str:
    """Commit a file; returns the commit."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", file)
    return git(folder, "rev-parse", "HEAD")


class Team(NamedTuple):
    """A worker's clone, a colleague's, and the Git repository that they share."""

    worker: Path
    eve: Path
    shared: Path


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose protected branch allows `release/*` beside itself; the current folder."""
    folder = tmp_path / "worker"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    write_params(folder, ["main", "release/*"], git_remote=REMOTE)
    commit(folder, "pipelines/first.py")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def team(worker: Path, tmp_path: Path) -> Team:
    shared, eve = tmp_path / "shared.git", tmp_path / "eve"
    git(worker, "clone", "-q", "--bare", ".", str(shared))
    git(worker, "remote", "add", REMOTE, str(shared))
    git(worker, "fetch", "-q", REMOTE)
    git(worker, "remote", "set-head", REMOTE, "main")
    git(tmp_path, "clone", "-q", "-o", REMOTE, str(shared), str(eve))
    return Team(worker, eve, shared)


def push(team: Team, branch: str, file: str) -> str:
    """Eve commits a file on a branch of hers and pushes it."""
    git(team.eve, "checkout", "-q", "-B", branch.replace("/", "-"), f"{REMOTE}/main")
    tip = commit(team.eve, file)
    git(team.eve, "push", "-q", REMOTE, f"+HEAD:refs/heads/{branch}")
    return tip


def test_a_commit_of_the_protected_branch_or_of_one_that_it_names_is_allowed(team: Team) -> None:
    first = git(team.worker, "rev-parse", "HEAD")
    main = push(team, "main", "pipelines/second.py")
    release = push(team, "release/2", "pipelines/third.py")
    for revision in ("HEAD", "main", main, first, first[:10]):
        assert revisions.resolve_reviewed(revision, REMOTE).startswith(
            first if revision.startswith(first[:10]) else main
        )
    assert revisions.resolve_reviewed("release/2", REMOTE) == release


def test_another_branch_is_refused_with_what_to_do(team: Team) -> None:
    tip = push(team, "eve", "pipelines/spy.py")
    git(team.eve, "tag", "v9")
    git(team.eve, "push", "-q", REMOTE, "v9")
    for revision in ("eve", tip, tip[:12], "v9", "refs/remotes/shared/eve", "refs/tags/v9"):
        with pytest.raises(Refusal) as caught:
            revisions.resolve_reviewed(revision, REMOTE)
        message = str(caught.value)
        assert message.startswith("refused, nothing has run: revision: ")
        assert revision in message
        assert "airflow.branches names there (main, release/*)" in message
        assert "merge it into one of them" in message
    git(team.eve, "push", "-q", REMOTE, "HEAD:release/9")  # where somebody reviews pushes
    assert revisions.resolve_reviewed("v9", REMOTE) == tip


def test_a_branch_that_names_itself_in_its_own_file_is_refused(team: Team) -> None:
    git(team.eve, "checkout", "-q", "-b", "eve", f"{REMOTE}/main")
    write_params(team.eve, ["*"], git_remote=REMOTE)
    commit(team.eve, "pipelines/spy.py")
    git(team.eve, "push", "-q", REMOTE, "eve")
    with pytest.raises(Refusal, match=r"\(main, release/\*\)"):
        revisions.resolve_reviewed("eve", REMOTE)


def test_a_branch_that_was_removed_from_the_remote_is_refused_though_this_clone_knows_it(
    team: Team,
) -> None:
    tip = push(team, "release/3", "pipelines/third.py")
    assert revisions.resolve_reviewed("release/3", REMOTE) == tip
    git(team.eve, "push", "-q", REMOTE, "--delete", "release/3")
    with pytest.raises(Refusal):
        revisions.resolve_reviewed("release/3", REMOTE)


def test_a_local_branch_of_an_allowed_name_does_not_count_where_a_remote_is_shared(
    team: Team,
) -> None:
    git(team.worker, "checkout", "-q", "-b", "release/mine")
    tip = commit(team.worker, "pipelines/spy.py")
    with pytest.raises(Refusal):
        revisions.resolve_reviewed(tip, REMOTE)


def test_a_remote_that_does_not_answer_allows_nothing(team: Team) -> None:
    team.shared.rename(team.shared.with_name("gone.git"))
    with pytest.raises(Unreachable, match="the Git remote shared cannot be reached"):
        revisions.resolve_reviewed("main", REMOTE)


def test_on_one_machine_the_clones_own_branches_count(worker: Path) -> None:
    git(worker, "checkout", "-q", "-b", "feature")
    feature = commit(worker, "pipelines/feature.py")
    assert revisions.resolve_reviewed("HEAD", None) == feature  # what is checked out
    git(worker, "checkout", "-q", "main")
    with pytest.raises(Refusal, match="'feature'"):
        revisions.resolve_reviewed("feature", None)
    git(worker, "branch", "release/1", "feature")
    assert revisions.resolve_reviewed("feature", None) == feature


def test_a_runs_branch_may_hold_results_and_no_code(team: Team) -> None:
    """Whoever may push can push `runs/NAME` before or while a run of that name works."""
    for file in ("dvc.lock", "data/reports/run.json", "models/champion.dvc", "params.yaml"):
        tip = push(team, "runs/train-good", file)
        git(team.worker, "fetch", "-q", REMOTE)
        revisions.require_reviewed_code("runs/train-good", tip, REMOTE)
    for file in ("pipelines/spy.py", "dvc.yaml", ".dvc/config", "yaml.py", "dags/data/x.py"):
        tip = push(team, "runs/train-evil", file)
        git(team.worker, "fetch", "-q", REMOTE)
        with pytest.raises(Refusal, match="runs/train-evil has code") as caught:
            revisions.require_reviewed_code("runs/train-evil", tip, REMOTE)
        assert file in str(caught.value)
    git(team.eve, "checkout", "-q", "--orphan", "alone")
    tip = commit(team.eve, "dvc.yaml")
    git(team.eve, "push", "-q", REMOTE, "HEAD:runs/train-alone")
    git(team.worker, "fetch", "-q", REMOTE)
    with pytest.raises(Refusal, match="all of it"):
        revisions.require_reviewed_code("runs/train-alone", tip, REMOTE)


@pytest.mark.parametrize("values", ['{"revision": "eve"}', '{"airflow.branches": ["*"]}'])
def test_the_task_checkout_makes_no_branch_and_no_checkout_for_a_refused_revision(
    team: Team, values: str
) -> None:
    """By the command that Airflow calls, for an approver too."""
    push(team, "eve", "pipelines/spy.py")
    command = [sys.executable, "-m", "pipelines", "checkout", "start", "--dag", "train"]
    command += ["--run-id", "one", "--triggered-by", "admin", "--revision", "eve"]
    process = subprocess.run(
        [*command, "--overrides", values],
        capture_output=True,
        text=True,
        env={**environment(), "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 1
    assert "revision: 'eve'" in process.stderr
    assert not (team.worker / ".state/runs/train-one").exists()
    assert git(team.worker, "branch", "--list", "runs/*") == ""


def test_more_branches_are_a_looser_value(worker: Path) -> None:
    before = revisions.params_at("HEAD")
    write_params(worker, ["*"], git_remote=REMOTE)
    git(worker, "commit", "-qam", "all")
    (difference,) = differences(before, revisions.params_at("HEAD"))
    assert (difference.key, difference.is_looser) == ("airflow.branches", True)
