"""`train` in a real Airflow, through its REST API: one run from nothing with a killed worker, then runs over its results. In file order."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from pipelines import graph
from pipelines.checkouts import tree
from tests.dags.conftest import Airflow


def shown(folder: Path, revision: str, path: str) -> str:
    return subprocess.run(["git", "show", f"{revision}:{path}"], cwd=folder, capture_output=True, text=True, check=True).stdout


def branch_of(run: str) -> str:
    return tree.named("train", run).branch


def command_of(folder: Path, words: str) -> int | None:
    """Process id of the pipeline's command with these words, in this folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line, where = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " "), os.readlink(entry / "cwd")
            except OSError:
                continue
            if words in line and "-m pipelines checkout stage" in line and where == str(folder):
                return int(entry.name)
    return None


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.fixture(scope="module")
def first(airflow: Airflow) -> str:
    """The id of a run with one overridden value, whose worker was killed while `base` ran, and which now waits for approval."""
    assert airflow.call("PATCH", "/api/v2/dags/train", {"is_paused": False})[0] == 200
    run = airflow.trigger("train", {"finetune.seed": 9})
    stage = airflow.wait("the stage base", lambda: command_of(airflow.folder, "--name base"))
    task = parent_of(stage)
    for pid in (parent_of(task), task):  # the executor's worker first, so that it cannot report the death of the task
        os.kill(pid, signal.SIGKILL)
    airflow.wait("the stage's end", lambda: not Path(f"/proc/{stage}").exists(), 20)
    airflow.wait("approve", lambda: airflow.states("train", run).get("approve") == "awaiting_input" or (airflow.state("train", run) == "failed" and pytest.fail(str(airflow.states("train", run)))))
    return run


def test_a_wrong_value_is_refused_before_there_is_a_run(airflow: Airflow) -> None:
    status, answer = airflow.call("POST", "/api/v2/dags/train/dagRuns", {"logical_date": None, "conf": {"finetune.learning_rate": 2}})

    assert status == 400
    assert "Invalid input for param finetune.learning_rate: 2 is greater than or equal to the maximum" in answer
    assert airflow.get("/api/v2/dags/train/dagRuns")["total_entries"] == 0


def test_the_task_of_a_killed_worker_is_retried_and_the_run_goes_on(airflow: Airflow, first: str) -> None:
    tasks = airflow.tasks("train", first)

    assert tasks["base"]["try_number"] == 2
    assert {tasks[stage]["state"] for stage in graph.read()} == {"success"}
    assert [name for name, task in tasks.items() if task["try_number"] > 1] == ["base"]


def test_the_overridden_value_reached_the_stage_and_is_on_record(airflow: Airflow, first: str) -> None:
    branch = branch_of(first)

    assert yaml.safe_load(shown(airflow.folder, branch, "dvc.lock"))["stages"]["finetune"]["params"]["params.yaml"]["finetune"]["seed"] == 9
    assert json.loads(shown(airflow.folder, branch, "data/reports/run.json")) | {"run": ""} == {
        "run": "", "revision": "HEAD", "who": "admin", "overrides": [{"key": "finetune.seed", "before": 7, "after": 9}],
    }  # fmt: skip
    assert yaml.safe_load((airflow.folder / "params.yaml").read_text())["finetune"]["seed"] == 7
    assert not (airflow.folder / "dvc.lock").exists()  # nobody's working copy was touched


def test_a_tasks_log_is_the_stages_own_words(airflow: Airflow, first: str) -> None:
    said = airflow.log("train", first, "ingest")

    assert "handbook: 4 documents, 0 rejected" in said
    assert "> python -m pipelines" not in said


def test_who_triggered_the_run_cannot_approve_it_but_somebody_else_can(airflow: Airflow, first: str) -> None:
    path = f"/api/v2/dags/train/dagRuns/{first}/taskInstances/approve/-1/hitlDetails"
    asked = airflow.get(path)
    assert "| exact_match |" in asked["body"]
    assert "worst answers" in asked["body"]

    assert airflow.call("PATCH", path, {"chosen_options": ["Approve"], "params_input": {"why": "mine"}})[0] == 200
    airflow.wait("being asked again", lambda: airflow.states("train", first)["approve"] == "awaiting_input" and not airflow.get(path)["response_received"])
    time.sleep(8)  # as a person would: an answer before the scheduler has seen that the task waits again is taken for a lost task's, and the question comes once more

    def decided() -> Any:
        """Answered as often as it is asked; the run's final state."""
        if airflow.states("train", first)["approve"] == "awaiting_input" and not airflow.get(path)["response_received"]:
            assert airflow.call("PATCH", path, {"chosen_options": ["Approve"], "params_input": {"why": "reads well"}}, user="ada")[0] == 200
        return (state := airflow.state("train", first)) in ("success", "failed") and state

    assert airflow.wait("the end of the run", decided) == "success"
    events = [json.loads(line) for line in shown(airflow.folder, "releases", "models/releases.jsonl").splitlines()]
    assert [(event["kind"], event["who"], event["why"]) for event in events] == [("approved", "ada", "reads well"), ("released", "ada", "reads well")]
    assert "data/reports/approval_brief.md" in events[0]["seen"]


def test_two_runs_at_once_do_not_disturb_each_other(airflow: Airflow, first: str) -> None:
    same = airflow.trigger("train", {"finetune.seed": 9, "release.approval": "auto"})
    failing = airflow.trigger("train", {"validate.max_characters": 2000})

    assert airflow.finished("train", failing) == "failed"
    assert airflow.finished("train", same) == "success"

    check_the_failure(airflow, failing)
    states = airflow.states("train", same)
    # The champion is new: what is compared with it is measured again, the rest is as it was.
    assert {stage for stage in graph.read() if states[stage] == "success"} <= {"validate", "evaluate", "gate", "export", "chunk", "survey", "base"}
    assert {states[name] for name in ("brief", "approve", "release")} == {"skipped"}  # the live release serves this very model
    assert {states[stage] for stage in ("ingest", "embed", "index", "examples", "finetune")} == {"skipped"}
    assert branch_of(same) != branch_of(failing)


def check_the_failure(airflow: Airflow, run: str) -> None:
    """The run stopped where the bad documents would do harm, with the check's own words and without a retry."""
    tasks = airflow.tasks("train", run)
    stopped = [name for name, task in tasks.items() if task["state"] == "failed"]
    assert set(stopped) <= {"chunk", "base"}
    assert {tasks[name]["state"] for name in ("embed", "finetune", "export", "release")} == {"upstream_failed"}
    for name in stopped:
        said = airflow.log("train", run, name)
        assert "refused: the validation of the documents did not pass" in said or "length in characters" in said
        assert tasks[name]["try_number"] == 1


@pytest.fixture(scope="module")
def later(airflow: Airflow, first: str) -> dict[str, tuple[str, str]]:
    """Three more runs, at once: name -> DAG and id. All have ended."""
    assert airflow.call("PATCH", "/api/v2/dags/refresh", {"is_paused": False})[0] == 200
    started = {
        "unchanged": ("train", airflow.trigger("train", {"finetune.seed": 9, "release.approval": "auto"})),
        "good": ("refresh", airflow.trigger("refresh", {})),
        "bad": ("refresh", airflow.trigger("refresh", {"gate.floors": {"hit_at_1": 1.0}})),
    }
    assert {name: airflow.finished(*run) for name, run in started.items()} == {"unchanged": "success", "good": "success", "bad": "failed"}
    return started


def test_refresh_moves_the_live_releases_knowledge_when_retrieval_is_good_enough(airflow: Airflow, later: dict[str, tuple[str, str]]) -> None:
    assert "now reads its knowledge in Chunks_" in airflow.log(*later["good"], "switch")
    assert "refused: retrieval from the new index did not pass" in airflow.log(*later["bad"], "switch")
    assert airflow.states(*later["good"])["embed"] == "skipped"
    assert json.loads(shown(airflow.folder, tree.named(*later["bad"]).branch, "data/reports/retrieval.json"))["report"]["passed"] is False


def test_a_run_over_unchanged_results_skips_every_stage(airflow: Airflow, later: dict[str, tuple[str, str]]) -> None:
    states = airflow.states(*later["unchanged"])

    assert {states[stage] for stage in graph.read()} == {"skipped"}
    assert "skipped (cached)" in airflow.log(*later["unchanged"], "finetune")
    kept = [path for path in (airflow.folder / ".state/runs").iterdir() if (path / ".git").exists()]
    assert len(kept) == 1  # airflow.keep_checkouts


def monitored(airflow: Airflow, reaction: str) -> str:
    """The id of a `monitor` run whose check says `reaction`. The check is the test's own: here it matters what Airflow makes of it."""
    (airflow.folder / "pipelines/commands/monitor.py").write_text(
        "import json\nfrom pathlib import Path\n\n\ndef run(run_id: str, running: int) -> None:\n    folder = Path('data/reports/drift')\n    folder.mkdir(parents=True, exist_ok=True)\n"
        f"    (folder / 'verdict.json').write_text(json.dumps({{'reaction': {reaction!r}, 'reason': 'the test says so'}}))\n"
    )
    return airflow.trigger("monitor", {})


def test_a_drift_verdict_starts_train_once_and_any_other_starts_nothing(airflow: Airflow, first: str) -> None:
    assert airflow.call("PATCH", "/api/v2/dags/monitor", {"is_paused": False})[0] == 200
    real = airflow.trigger("monitor", {})
    assert airflow.finished("monitor", real) == "success"  # the real check has no traffic to judge yet, which is no reason to call anybody
    assert airflow.states("monitor", real) == {"monitor": "success", "train_needed": "skipped", "refresh_needed": "skipped", "human_needed": "skipped"}
    for reaction in ("cannot_tell", "nonsense"):
        assert airflow.finished("monitor", monitored(airflow, reaction)) == "failed", reaction
    assert airflow.get("/api/v2/assets/events")["total_entries"] == 0

    assert airflow.finished("monitor", monitored(airflow, "train")) == "success"

    events = airflow.get("/api/v2/assets/events")["asset_events"]
    assert [event["name"] for event in events] == ["train-needed"]
    started = airflow.wait("the run of train", lambda: [run for run in airflow.get("/api/v2/dags/train/dagRuns")["dag_runs"] if run["run_type"].startswith("asset")])
    assert len(started) == 1


def test_reports_are_for_users_who_are_logged_in_and_never_outside_their_folder(airflow: Airflow, first: str) -> None:
    path = f"/reports/train/{quote(first, safe='')}"

    assert airflow.call("GET", f"{path}/run.json")[0] == 200
    assert airflow.call("GET", f"{path}/..%2F..%2F..%2Fairflow%2Fsecrets.json")[0] == 404
    assert airflow.call("GET", f"{path}/run.json", user="nobody")[0] in (401, 403)
