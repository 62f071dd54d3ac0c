"""A run may not be less careful than the protected branch, by the real command and a real clone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from pipelines.config import params
from pipelines.errors import Refusal
from pipelines.runs import approval_brief, overrides, protection
from pipelines.runs.work_trees import Run
from tests.conftest import end_processes_below
from tests.end_to_end.test_pipeline import change, environment, make_workspace

Call = subprocess.CompletedProcess[str]


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def checkout(folder: Path, action: str, run: str, *options: str) -> Call:
    command = [sys.executable, "-m", "pipelines", "checkout", action]
    command += ["--dag", "train", "--run-id", run, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment())


def start(folder: Path, run: str, values: dict[str, object], *options: str) -> Call:
    return checkout(folder, "start", run, "--overrides", json.dumps(values), *options)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("protected") / "clone"
    folder.mkdir()
    make_workspace(folder)
    yield folder
    end_processes_below(folder)


LOOSENINGS: dict[str, dict[str, object]] = {
    "approval": {"release.approval": "auto"},
    "floor": {"gate.floors": {"exact_match": 0.0}},
    "no-floor": {"gate.floors": {"hit_at_5": 0.99}},
    "margin": {"gate.champion_margin": 0.99},
    "proof": {"proof.min_same_answers": 0.0},
    "personal-data": {"redact.actions": {"EMAIL_ADDRESS": "keep"}},
    "limits": {"ingest.limits.max_document_mib": 4096},
    "approvers": {"airflow.approvers": ["eve"]},
}


@pytest.mark.parametrize("name", list(LOOSENINGS))
def test_whoever_starts_a_run_cannot_loosen_a_protected_value(
    name: str, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    path = tmp_path / "params.yaml"
    path.write_bytes((workspace / "params.yaml").read_bytes())
    [key] = LOOSENINGS[name]
    check = partial(protection.require, Run("train-x"), who="eve")

    with pytest.raises(Refusal, match=f"refused, nothing has run: params.yaml: {key}: ") as error:
        overrides.apply(path, LOOSENINGS[name], check)

    assert "is looser than the protected branch's" in str(error.value)
    assert "(eve is not among them)" in str(error.value)
    assert path.read_bytes() == (workspace / "params.yaml").read_bytes()
    overrides.apply(path, LOOSENINGS[name], partial(check, who="admin"))


def test_the_other_tasks_do_not_go_on_after_a_refusal(workspace: Path) -> None:
    refusal = start(workspace, "marked", {"release.approval": "auto"}, "--triggered-by", "eve")
    assert 'refused, nothing has run: params.yaml: release.approval: "auto" is' in refusal.stderr
    # What was refused is not in the run's file either, so no later task can use it.
    assert git(workspace / ".state/runs/train-marked", "status", "--porcelain") == ""

    # In Airflow somebody marks the task `checkout` as successful.
    stage = checkout(workspace, "stage", "marked", "--name", "ingest", "--triggered-by", "eve")
    decision = ("--decision", "approved", "--who", "auto", "--why", "w", "--triggered-by", "eve")
    approval = checkout(workspace, "decide", "marked", "--automatic", *decision)

    assert "the task `checkout` of this run (train-marked) did not succeed" in stage.stderr
    assert "release.approval: human in this run, so a person decides" in approval.stderr
    assert (stage.returncode, approval.returncode) == (1, 1)


def test_a_stricter_value_is_accepted(workspace: Path) -> None:
    stricter = {"gate.floors": {"exact_match": 0.2, "hit_at_5": 0.1}, "proof.num_questions": 30}
    assert start(workspace, "strict", stricter, "--triggered-by", "eve").returncode == 0


def test_values_that_were_changed_on_the_runs_branch_later_stop_brief_and_release(
    workspace: Path,
) -> None:
    assert start(workspace, "later", {}, "--triggered-by", "eve").returncode == 0
    tree = workspace / ".state/runs/train-later"
    change(tree, {"gate.champion_margin": 0.9})
    git(tree, "commit", "-qam", "quietly")
    for action in ("brief", "release"):
        process = checkout(workspace, action, "later", "--triggered-by", "eve")
        assert process.returncode == 1
        assert "gate.champion_margin: 0.9 is looser" in process.stderr


def test_a_branch_of_somebodys_own_is_held_against_the_protected_one(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = git(workspace, "branch", "--show-current").strip()
    change(workspace, {"airflow.branches": ["eve*"]})
    git(workspace, "commit", "-qam", "eve's branches may be run")
    git(workspace, "checkout", "-qb", "eves")
    change(workspace, {"gate.min_gain_over_base": 0.0})
    excuse = {"candidate": "0" * 12, "rules": ["floor exact_match"]}
    excuse |= {"who": "eve", "why": "w", "until": "2099-01-01"}
    (workspace / "data/overrides.yaml").write_text(yaml.safe_dump([excuse]))
    with (workspace / "dvc.yaml").open("a") as file:
        file.write("# easier\n")
    git(workspace, "commit", "-qam", "easier")
    git(workspace, "checkout", "-q", main)

    process = start(workspace, "branch", {}, "--revision", "eves", "--triggered-by", "eve")
    allowed = start(workspace, "known", {}, "--revision", "eves", "--triggered-by", "admin")

    assert "params.yaml: gate.min_gain_over_base: 0.0 is looser" in process.stderr
    assert "data/overrides.yaml: {'candidate': '000000000000'" in process.stderr
    assert allowed.returncode == 0, allowed.stderr
    check_the_brief(workspace, monkeypatch)


def check_the_brief(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an approver allowed is the first thing that the person who approves reads."""
    monkeypatch.chdir(workspace)
    deviations = protection.deviations(Run("train-known"))
    lines = approval_brief._describe_deviations(deviations)
    assert lines[0].startswith("### Values that differ from the protected branch's (`")
    assert "| gate.min_gain_over_base | 0.05 | 0.0 | **looser** |" in lines
    assert "`data/overrides.yaml`, `dvc.yaml`" in lines[-2]


def test_values_are_shown_looser_ones_first_and_as_text(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"finetune.seed": 9, "base.source": "<b>x</b>", "canary.miss_rate": 0.5}
    assert start(workspace, "shown", values, "--triggered-by", "admin").returncode == 0
    monkeypatch.chdir(workspace)
    deviations = protection.deviations(Run("train-shown"))
    rows = approval_brief._describe_deviations(deviations)[4:-1]
    assert rows[0] == "| canary.miss_rate | 0.05 | 0.5 | **looser** |"
    assert r'| base.source | "made" | "\<b\>x\</b\>" |  |' in rows
    assert "| finetune.seed | 7 | 9 |  |" in rows


def test_without_a_readable_file_on_the_protected_branch_nothing_starts(
    tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = params.load(workspace / "params.yaml")
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "empty")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="params.yaml is missing at .* of the protected branch"):
        protection.require(Run("train-x"), values, "eve")
    (tmp_path / "params.yaml").write_text("gate: 1\n")
    git(tmp_path, "add", "params.yaml")
    git(tmp_path, "commit", "-qm", "broken")
    with pytest.raises(ValueError, match="the protected branch is at fault: params.yaml at "):
        protection.require(Run("train-x"), values, "admin")
