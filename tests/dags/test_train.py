"""`train` in a real Airflow, through its REST API, in file order.

One run starts from nothing and loses its worker; the others go over its results.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from pipelines import graph
from pipelines.runs import work_trees
from tests.dags.conftest import Airflow, git

pytestmark = pytest.mark.sequence

FAKE_MONITOR = """
import json
from pathlib import Path


def add_arguments(parser):
    parser.add_argument("--run-id")
    parser.add_argument("--running", type=int)


def run(run_id, running):
    folder = Path("data/reports/drift")
    folder.mkdir(parents=True, exist_ok=True)
    verdict = {{"reaction": {reaction!r}, "reason": "the test says so"}}
    (folder / "verdict.json").write_text(json.dumps(verdict))
"""
DECISIONS = "/api/v2/dags/train/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"


def file_at(folder: Path, revision: str, path: str) -> str:
    return git(folder, "show", f"{revision}:{path}")


def branch_of(dag: str, run: str) -> str:
    return work_trees.run_of(dag, run).branch


def stage_command(folder: Path, words: str) -> int | None:
    """Process id of a `checkout stage` command with these words in this folder."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            current = os.readlink(entry / "cwd")
        except OSError:
            continue
        is_stage = "-m pipelines checkout stage" in line and words in line
        if is_stage and current == str(folder):
            return int(entry.name)
    return None


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.fixture(scope="module")
def first(airflow: Airflow) -> str:
    """The id of a run whose worker was killed while `base` ran, and which waits for approval.

    It has one overridden value.
    """
    airflow.unpause("train")
    run = airflow.trigger("train", {"finetune.seed": 9})
    stage = airflow.wait("the stage base", lambda: stage_command(airflow.folder, "--name base"))
    task = parent_of(stage)
    # The executor's worker first, so that it cannot report the death of the task.
    for pid in (parent_of(task), task):
        os.kill(pid, signal.SIGKILL)
    airflow.wait("the stage's end", lambda: not Path(f"/proc/{stage}").exists(), 20)
    airflow.wait_for_approval(run)
    return run


def test_a_wrong_value_is_refused_before_there_is_a_run(airflow: Airflow) -> None:
    body = {"logical_date": None, "conf": {"finetune.learning_rate": 2}}

    status, answer = airflow.call("POST", "/api/v2/dags/train/dagRuns", body)

    assert status == 400
    message = "Invalid input for param finetune.learning_rate: 2 is greater than or equal to"
    assert message in answer
    assert airflow.get("/api/v2/dags/train/dagRuns")["total_entries"] == 0


def test_the_task_of_a_killed_worker_is_retried_and_the_run_goes_on(
    airflow: Airflow, first: str
) -> None:
    tasks = airflow.tasks("train", first)

    assert tasks["base"]["try_number"] == 2
    assert {tasks[stage]["state"] for stage in graph.read()} == {"success"}
    assert [name for name, task in tasks.items() if task["try_number"] > 1] == ["base"]


def test_the_overridden_value_reached_the_stage_and_is_on_record(
    airflow: Airflow, first: str
) -> None:
    branch = branch_of("train", first)

    lock = yaml.safe_load(file_at(airflow.folder, branch, "dvc.lock"))
    assert lock["stages"]["finetune"]["params"]["params.yaml"]["finetune"]["seed"] == 9
    record = json.loads(file_at(airflow.folder, branch, "data/reports/run.json"))
    assert record == {
        "run": work_trees.run_of("train", first).name,
        "revision": "HEAD",
        "who": "admin",
        "overrides": [{"key": "finetune.seed", "before": 7, "after": 9}],
    }
    # Nobody's working copy was touched.
    assert yaml.safe_load((airflow.folder / "params.yaml").read_text())["finetune"]["seed"] == 7
    assert not (airflow.folder / "dvc.lock").exists()


def test_a_tasks_log_is_the_stages_own_words(airflow: Airflow, first: str) -> None:
    log = airflow.log("train", first, "ingest")

    assert "handbook: 4 documents, 0 rejected" in log
    assert "> python -m pipelines" not in log


def test_who_triggered_the_run_cannot_approve_it_but_somebody_else_can(
    airflow: Airflow, first: str
) -> None:
    question = airflow.get(DECISIONS.format(run=first))
    assert "| exact_match |" in question["body"]
    assert "worst answers" in question["body"]
    assert "`release.html`" in question["body"]
    page = file_at(airflow.folder, branch_of("train", first), "data/reports/release.html")
    assert "Gate: passed" in page
    assert "Proof" not in page.replace("proof and canary follow", "")

    approve(airflow, first, why="mine", user="admin")
    airflow.wait("the second question", lambda: is_asking(airflow, first))
    # As a person would. An answer before the scheduler has seen that the task waits again is taken
    # for a lost task's, and the question comes once more.
    time.sleep(8)

    def final_state() -> str | None:
        """Approves as often as it is asked."""
        if is_asking(airflow, first):
            approve(airflow, first, why="reads well", user="ada")
        state = airflow.state("train", first)
        return state if state in ("success", "failed") else None

    assert airflow.wait("the end of the run", final_state) == "success"
    ledger = file_at(airflow.folder, "releases", "models/releases.jsonl").splitlines()
    approval, release = map(json.loads, ledger)
    assert approval["kind"] == "approved"
    assert release["kind"] == "released"
    for event in (approval, release):
        assert (event["who"], event["why"]) == ("ada", "reads well")
    assert "data/reports/approval_brief.md" in approval["seen"]
    in_run = file_at(airflow.folder, branch_of("train", first), "data/reports/release.html")
    pages = airflow.folder / "data/reports/releases"
    for page in (in_run, (pages / f"{release['release_id']}.html").read_text()):
        assert "Proof: passed" in page
        assert "reads well" in page


def is_asking(airflow: Airflow, run: str) -> bool:
    """Whether the run waits for an answer to its question."""
    if airflow.states("train", run)["approve"] != "awaiting_input":
        return False
    return not airflow.get(DECISIONS.format(run=run))["response_received"]


def approve(airflow: Airflow, run: str, why: str, user: str) -> None:
    body = {"chosen_options": ["Approve"], "params_input": {"why": why}}
    status, answer = airflow.call("PATCH", DECISIONS.format(run=run), body, user=user)
    assert status == 200, answer


@pytest.fixture(scope="module")
def later(airflow: Airflow, first: str) -> dict[str, tuple[str, str]]:
    """Three more runs, at once: name -> DAG and id. All have ended."""
    airflow.unpause("refresh")
    failing = airflow.trigger("train", {"validate.min_median_characters": 1_000_000})
    good = airflow.trigger("refresh", {})
    bad = airflow.trigger("refresh", {"gate.floors": {"hit_at_1": 1.0}})
    assert airflow.final_state("train", failing) == "failed"
    assert airflow.final_state("refresh", good) == "success"
    assert airflow.final_state("refresh", bad) == "failed"
    return {"failing": ("train", failing), "good": ("refresh", good), "bad": ("refresh", bad)}


def test_runs_at_once_have_branches_of_their_own(later: dict[str, tuple[str, str]]) -> None:
    branches = {branch_of(*run) for run in later.values()}
    assert len(branches) == len(later)


def test_documents_that_fail_validation_end_the_run_before_they_do_harm(
    airflow: Airflow, later: dict[str, tuple[str, str]]
) -> None:
    dag, run = later["failing"]
    tasks = airflow.tasks(dag, run)
    failures = [name for name, task in tasks.items() if task["state"] == "failed"]
    assert set(failures) <= {"chunk", "base"}
    for name in ("embed", "finetune", "export", "release"):
        assert tasks[name]["state"] == "upstream_failed"
    for name in failures:
        log = airflow.log(dag, run, name)
        is_refusal = "refused: the validation of the documents did not pass" in log
        assert is_refusal or "length in characters" in log
        assert tasks[name]["try_number"] == 1


def test_refresh_moves_the_live_releases_knowledge_when_retrieval_is_good_enough(
    airflow: Airflow, later: dict[str, tuple[str, str]]
) -> None:
    assert "now reads its knowledge in Chunks_" in airflow.log(*later["good"], "switch")
    refusal = "refused: retrieval from the new index did not pass"
    assert refusal in airflow.log(*later["bad"], "switch")
    assert airflow.states(*later["good"])["embed"] == "skipped"
    branch = branch_of(*later["bad"])
    retrieval = json.loads(file_at(airflow.folder, branch, "data/reports/retrieval.json"))
    assert retrieval["report"]["passed"] is False


@pytest.mark.slow
def test_after_a_release_only_what_is_compared_with_it_is_measured_again(
    airflow: Airflow, later: dict[str, tuple[str, str]]
) -> None:
    settings = {"finetune.seed": 9, "release.approval": "auto"}
    same = airflow.trigger("train", settings)
    assert airflow.final_state("train", same) == "success"
    states = airflow.states("train", same)
    measured_again = {"validate", "evaluate", "gate", "export", "chunk", "survey", "base"}
    assert {stage for stage in graph.read() if states[stage] == "success"} <= measured_again
    # The live release serves this very model.
    for name in ("brief", "approve", "release"):
        assert states[name] == "skipped"
    for name in ("ingest", "embed", "index", "examples", "finetune"):
        assert states[name] == "skipped"

    unchanged = airflow.trigger("train", settings)
    assert airflow.final_state("train", unchanged) == "success"
    states = airflow.states("train", unchanged)
    assert {states[stage] for stage in graph.read()} == {"skipped"}
    assert "skipped (cached)" in airflow.log("train", unchanged, "finetune")


def test_only_the_last_checkouts_are_kept(
    airflow: Airflow, later: dict[str, tuple[str, str]]
) -> None:
    checkouts = list((airflow.folder / ".state/runs").glob("*/.git"))
    assert len(checkouts) == 1  # airflow.keep_checkouts


def trigger_monitor(airflow: Airflow, reaction: str) -> str:
    """The id of a `monitor` run whose check asks for this reaction.

    The check is the test's own: here it matters what Airflow makes of it.
    """
    command = airflow.folder / "pipelines/commands/monitor.py"
    command.write_text(FAKE_MONITOR.format(reaction=reaction))
    return airflow.trigger("monitor", {})


def test_a_drift_verdict_starts_train_once_and_any_other_starts_nothing(
    airflow: Airflow, first: str
) -> None:
    airflow.unpause("monitor")
    # The real check has no traffic to judge yet, which is no reason to call anybody.
    real = airflow.trigger("monitor", {})
    assert airflow.final_state("monitor", real) == "success"
    assert airflow.states("monitor", real) == {
        "monitor": "success",
        "train_needed": "skipped",
        "refresh_needed": "skipped",
        "human_needed": "skipped",
    }
    for reaction in ("cannot_tell", "nonsense"):
        run = trigger_monitor(airflow, reaction)
        assert airflow.final_state("monitor", run) == "failed", reaction
    assert airflow.get("/api/v2/assets/events")["total_entries"] == 0

    run = trigger_monitor(airflow, "train")
    assert airflow.final_state("monitor", run) == "success"

    events = airflow.get("/api/v2/assets/events")["asset_events"]
    assert [event["name"] for event in events] == ["train-needed"]

    def asset_runs() -> list[Any]:
        runs = airflow.get("/api/v2/dags/train/dagRuns")["dag_runs"]
        return [run for run in runs if run["run_type"].startswith("asset")]

    assert len(airflow.wait("the run of train", asset_runs)) == 1


def test_reports_are_for_users_who_are_logged_in_and_never_outside_their_folder(
    airflow: Airflow, first: str
) -> None:
    path = f"/reports/train/{quote(first, safe='')}"

    assert airflow.call("GET", f"{path}/run.json")[0] == 200
    assert airflow.call("GET", f"{path}/..%2F..%2F..%2Fairflow%2Fsecrets.json")[0] == 404
    assert airflow.call("GET", f"{path}/run.json", user="nobody")[0] in (401, 403)
