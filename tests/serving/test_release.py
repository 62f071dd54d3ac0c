"""Releases on a live server under traffic: proof, canary, rollback and crashes.

`python -m pipelines serve` runs in a process of its own.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.commands import decide, release, rollback
from pipelines.config import params
from pipelines.contracts.answers import ANSWERS
from pipelines.contracts.release_steps import StepResult
from pipelines.decision import ledger, release_files, step_results
from pipelines.errors import Refusal
from pipelines.serving import (
    client,
    live_routes,
    live_server,
    locations,
    recent_traffic,
    releasing,
    shadow,
)
from pipelines.serving.canary import Handover
from pipelines.serving.candidates import Candidate, Step, StepRefusal
from pipelines.serving.client import Question
from pipelines.serving.release_comparison import Declaration, Measure
from pipelines.serving.triton_connection import Triton
from tests.serving.users import kill_server, questions, traffic, wait_for_sole_route

pytestmark = pytest.mark.sequence

ROOT = Path(__file__).parents[2]
SLOW = """
import time

quick = flags


def flags(question):
    time.sleep(5 if 'tell' in question else 0)
    return quick(question)
"""
FAILING = """
fine = flags


def flags(question):
    if 'tell' in question:
        raise RuntimeError('this release cannot tell')
    return fine(question)
"""


def ledger_lines() -> list[tuple[str, str, str | None]]:
    return [(event.kind, event.step, event.release_id) for event in ledger.read()]


def release_id_in(path: str) -> str:
    content: dict[str, Any] = json.loads(Path(path).read_text())
    return str(content.get("champion", content)["release_id"])


def steps_of(release_id: str) -> dict[str, StepResult]:
    """What the steps of the last attempt saw."""
    return {step.step: step for step in step_results.attempts(release_id)[-1].steps}


def wait_for_greetings(count: int) -> None:
    """Until `serve` has printed so many times that it serves."""
    deadline = time.monotonic() + 600
    log = Path("serve.log")
    while log.read_text().count("Ctrl-C stops it") < count:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def test_the_first_release_is_proven_served_at_once_and_on_record(
    served: Callable[[], Triton], candidate: Callable[..., str], shop: Path
) -> None:
    served()
    candidate("r-one")
    release.run("ada", "first")
    assert client.ask("What can you tell?").release_id == "r-one"
    assert ledger_lines() == [("released", "release", "r-one")]
    assert release_files.find("r-one").why == "first"
    listing = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "release/r-one"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(listing.stdout.split()) >= {
        "models/champion.dvc",
        "models/champion.json",
        "models/releases.jsonl",
        "data/index.json",
        "params.yaml",
    }
    card = Path("models/champion/model_card.md").read_text()
    assert re.search(r"^- Released by ada at 20.*: first$", card, re.MULTILINE)
    assert "Not released" not in card
    assert release_files.papers("r-one") == {"model_card.md": card, "sbom.cdx.json": "{}\n"}
    page = Path("data/reports/releases/r-one.html")
    assert '<a href="r-one.model_card.md">model_card.md</a>' in page.read_text()
    assert (page.parent / "r-one.model_card.md").read_text() == card
    assert (page.parent / "r-one.sbom.cdx.json").exists()


def test_an_export_with_foreign_code_is_refused_on_record_before_any_of_it_runs(
    served: Callable[[], Triton], candidate: Callable[..., str], shop: Path
) -> None:
    served()
    candidate("r-foreign")
    trace = shop / "trace"
    code = Path("models/triton/assistant/1/model.py")
    code.write_text(f"open({str(trace)!r}, 'w')\n{code.read_text()}")
    (code.parent / "runtime/guard").mkdir()  # a package goes before the module guard.py
    (code.parent / "runtime/guard/__init__.py").write_text(f"open({str(trace)!r}, 'w')\n")
    with pytest.raises(Refusal) as caught:
        release.run("mallory", "trust me")
    lines = str(caught.value).splitlines()
    assert lines[1:3] == [
        "  models/triton/assistant/1/model.py: differs",
        "  models/triton/assistant/1/runtime/guard/__init__.py: is in no export of this checkout",
    ]
    assert "`dvc repro export`" in lines[3]
    assert not trace.exists()
    assert ledger_lines()[-1] == ("refused", "release", "r-foreign")
    assert "none of it was run" in ledger.read()[-1].why


def test_a_candidate_that_a_person_refused_is_not_released_before_another_decision(
    served: Callable[[], Triton], candidate: Callable[..., str]
) -> None:
    candidate("r-two")
    decide.run("refuse", "bob", "not yet")
    with pytest.raises(Refusal, match="bob refused candidate d at .*: not yet"):
        release.run("ada", "second")
    decide.run("approve", "bob", "now")
    assert ledger_lines()[-3:] == [
        ("refused", "approval", None),
        ("refused", "release", "r-two"),
        ("approved", "approval", None),
    ]


def test_a_good_release_takes_over_step_by_step_while_every_request_is_answered(
    served: Callable[[], Triton], candidate: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    triton = served()
    candidate("r-two")
    with traffic() as answers:
        release.run("ada", "second", expect_latency_ratio=100.0)
    output = capsys.readouterr().out
    assert "r-two may take 100 times as long, as declared" in output
    assert ledger.read()[-1].expected_latency_ratio == 100.0
    assert "pairs" in ledger.read()[-1].shadow
    assert "r-two answers 50%: all" in output
    assert "r-two answers 100%: all" in output
    assert answers.errors == []
    assert answers.releases[0] == "r-one"
    assert answers.releases[-1] == "r-two"
    assert live_server.loaded_releases(triton) == ["r-one", "r-two"]
    assert live_routes.read() == ([("r-two", 1.0)], None)
    steps = steps_of("r-two")
    assert list(steps) == ["gate", "infra validation", "shadow", "canary"]
    assert {step.passed for step in steps.values()} == {True}
    [labels] = {tuple(mark.label for mark in plot.marks) for plot in steps["canary"].plots}
    assert labels == ("50%", "100%")
    page = Path("data/reports/releases/r-two.html")
    assert f"what every decision saw: {page}" in output
    assert page.read_text().count("<polyline") > 5
    assert "Was live." in (page.parent / "r-one.html").read_text()


def test_a_rollback_switches_model_prompt_and_knowledge_without_loading_anything(
    served: Callable[[], Triton],
) -> None:
    log = served().log
    before = log.read_text().count("successfully loaded")
    rollback.run(None, "ada", "the old one was better")
    assert client.ask("What can you tell?").release_id == "r-one"
    assert log.read_text().count("successfully loaded") == before > 0
    assert ledger_lines()[-1] == ("rolled_back", "rollback", "r-one")
    assert release_id_in("models/champion.json") == "r-one"
    assert release_id_in("models/champion/release.json") == "r-one"


def config(**shadow: Any) -> releasing.Config:
    """By the clone's params.yaml, but for these keys of the section `shadow`."""
    sections = releasing.Config.of(params.load())
    return replace(sections, shadow=sections.shadow.model_copy(update=shadow))


NO_SHADOW = {"replay": 0, "share": 0.0}


def hand_over(triton: Triton, new: str) -> Handover:
    return Handover(new, "r-one", triton, locations.traffic_folder())


def logged_requests(since: float) -> list[dict[str, Any]]:
    return recent_traffic.requests(locations.traffic_folder(), since)


@pytest.mark.slow
def test_a_replay_compares_both_releases_on_logged_questions_out_of_sight(
    served: Callable[[], Triton], candidate: Callable[..., str]
) -> None:
    triton = served()
    start = time.time()
    settings = shadow.Config(
        config(min_pairs=30, share=0.0, max_seconds=300.0).shadow, config().canary, 60.0
    )
    result = shadow.compare(settings, hand_over(triton, "r-two"), random.Random(7))
    assert result.outcome.report.passed
    assert result.outcome.gaps == []
    assert result.comparison.num_pairs >= 30
    assert "the same words in 100% of" in result.comparison.descriptions.describe()
    # Every answer of both was measured, though the encoder rests between two.
    assert result.comparison.bets[Measure.GROUNDEDNESS].new.num >= 0.9 * 30
    lines = shadow.answers_file().read_text().splitlines()
    asked = [json.loads(line)["question"] for line in lines]
    assert len(set(asked)) == len(asked) == result.comparison.num_pairs
    assert set(asked) <= {row["question"] for row in logged_requests(0.0)}
    assert logged_requests(start) == []
    assert shadow.answers_file().stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_too_few_logged_questions_are_completed_by_a_share_of_those_that_users_ask(
    served: Callable[[], Triton],
) -> None:
    settings = shadow.Config(
        config(replay=0, share=1.0, min_pairs=12, max_seconds=300.0).shadow, config().canary, 60.0
    )
    end = threading.Event()
    asked: list[str] = []

    def ask_now_and_then() -> None:
        while not end.wait(0.5):
            asked.append(f"What is new about release {len(asked)}?")
            client.ask(asked[-1])

    user = threading.Thread(target=ask_now_and_then)
    user.start()
    try:
        result = shadow.compare(settings, hand_over(served(), "r-two"), random.Random(7))
    finally:
        end.set()
        user.join()
    assert result.outcome.gaps == []
    assert result.comparison.num_pairs >= 12
    lines = shadow.answers_file().read_text().splitlines()
    assert {json.loads(line)["question"] for line in lines} <= set(asked)


@pytest.mark.slow
def test_users_who_never_pause_leave_the_shadow_nothing_and_the_release_goes_on(
    served: Callable[[], Triton],
) -> None:
    step_results.begin("r-two", Candidate.read().verdict)
    with traffic() as answers:
        time.sleep(2)
        pairs = releasing.compare_answers(config(max_seconds=4.0), hand_over(served(), "r-two"))
    assert answers.errors == []
    (gap,) = pairs.undecided
    assert "of 20 pairs (shadow.min_pairs) were compared within 4 s (shadow.max_seconds)" in gap


def every_answer() -> list[str]:
    """What r-one answers to users and in the proof."""
    evaluated = [row["answer"] for row in files.read(Path("data/answers.parquet"), ANSWERS)]
    return evaluated + [client.ask(question).text for question in questions()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("release_id", "guard", "refuses_all", "reason"),
    [
        ("r-failing", FAILING, False, "failed requests"),
        ("r-refusing", "", True, "refusing answers"),
    ],
)
def test_a_worse_release_is_stopped_by_its_shadow_before_a_user_meets_it(
    served: Callable[[], Triton],
    candidate: Callable[..., str],
    release_id: str,
    guard: str,
    refuses_all: bool,
    reason: str,
) -> None:
    triton = served()
    settings = {"refusals": every_answer()} if refuses_all else {}
    candidate(release_id, guard, **settings)
    step_results.begin(release_id, Candidate.read().verdict)
    start = time.time()
    with pytest.raises(StepRefusal, match=reason) as caught:
        releasing.take_over(config(max_seconds=300.0), triton, release_id, "r-one")
    assert (caught.value.step, caught.value.kind) == (Step.SHADOW, "refused")
    result = steps_of(release_id)["shadow"]
    assert not result.passed
    [plot] = [plot for plot in result.plots if plot.title == reason]
    assert plot.curves[0].points[-1][1] >= plot.curves[0].threshold
    assert "on the same" in str(caught.value)
    assert "e.g. " in str(caught.value)
    assert logged_requests(start) == []
    assert release_id not in live_server.loaded_releases(triton)
    assert live_routes.read() == ([("r-one", 1.0)], None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("release_id", "guard", "refuses_all", "reason"),
    [
        ("r-slow", SLOW, False, "time to the answer"),
        ("r-refusing", "", True, "refusing answers"),
    ],
)
def test_a_release_that_is_worse_on_live_traffic_is_rolled_back_by_itself(
    served: Callable[[], Triton],
    candidate: Callable[..., str],
    release_id: str,
    guard: str,
    refuses_all: bool,
    reason: str,
) -> None:
    triton = served()
    settings = {"refusals": every_answer()} if refuses_all else {}
    candidate(release_id, guard, **settings)
    step_results.begin(release_id, Candidate.read().verdict)
    with traffic() as answers, pytest.raises(StepRefusal, match=reason) as caught:
        # What `release` does after the proof.
        releasing.take_over(config(**NO_SHADOW), triton, release_id, "r-one")
    assert (caught.value.step, caught.value.kind) == (Step.CANARY, "rolled_back")
    [plot] = [plot for plot in steps_of(release_id)["canary"].plots if plot.title == reason]
    assert plot.curves[0].points[-1][1] >= plot.curves[0].threshold
    assert live_routes.read() == ([("r-one", 1.0)], None)
    assert release_id not in live_server.loaded_releases(triton)
    assert answers.releases[-1] == "r-one"
    assert answers.errors == []
    assert client.ask("What can you tell?").release_id == "r-one"


def test_a_release_that_failed_on_live_traffic_is_on_record_with_its_reason(
    served: Callable[[], Triton], candidate: Callable[..., str]
) -> None:
    served()
    candidate("r-failing", FAILING)
    declaration = Declaration(latency_ratio=50.0)
    author = releasing.Author("ada", "try again")
    with traffic(), pytest.raises(Refusal, match="failed requests"):
        releasing.release(config(**NO_SHADOW), author, command_line=declaration)
    assert ledger.read()[-1].expected_latency_ratio == 50.0
    assert ledger_lines()[-1] == ("rolled_back", "canary", "r-failing")
    assert "failed requests" in ledger.read()[-1].why
    assert not steps_of("r-failing")["canary"].passed
    assert "Canary: refused" in Path("data/reports/releases/r-failing.html").read_text()


@pytest.mark.slow
def test_a_release_that_its_shadow_stopped_is_on_record_with_its_numbers(
    served: Callable[[], Triton], candidate: Callable[..., str]
) -> None:
    served()
    candidate("r-failing", FAILING)
    with pytest.raises(Refusal, match="failed requests"):
        release.run("ada", "try again", expect_latency_ratio=50.0)
    assert ledger_lines()[-1] == ("refused", "shadow", "r-failing")
    event = ledger.read()[-1]
    assert "100.0% of" in event.why
    assert "pairs" in event.why


@pytest.mark.slow
def test_a_release_that_is_killed_in_the_middle_leaves_everything_to_the_old_one(
    served: Callable[[], Triton], candidate: Callable[..., str]
) -> None:
    served()
    candidate("r-three")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "release", "--who", "ada", "--why", "third"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 600
    while live_routes.read().canary_pid is None:  # the switch has not begun
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.wait()
    wait_for_sole_route("r-one")
    assert client.ask("What can you tell?").release_id == "r-one"


def test_a_server_that_is_killed_comes_back_with_the_released_version(
    served: Callable[[], Triton],
) -> None:
    triton = served()
    before = Path("serve.log").read_text().count("Ctrl-C stops it")
    kill_server(triton)
    wait_for_greetings(before + 1)
    assert client.ask("What can you tell?").release_id == "r-one"


def test_a_weaviate_that_is_killed_is_a_clear_error_until_serve_has_started_it_again(
    served: Callable[[], Triton], shop: Path, servers: Callable[[Path], list[int]]
) -> None:
    served()
    before = client.ask("What can you tell?")
    (pid,) = servers(shop)
    os.kill(pid, signal.SIGKILL)
    errors: list[str] = []
    deadline = time.monotonic() + 600
    while True:
        try:
            after = client.ask(Question("What can you tell?", timeout_seconds=10))
            if errors:
                break
        except client.AskError as error:
            errors.append(str(error))
        assert time.monotonic() < deadline, errors[-1:]
        time.sleep(0.05)
    assert all("failed: the knowledge index" in error for error in errors)
    assert "cannot be reached" in errors[0]
    assert servers(shop) != [pid]
    assert (after.text, after.citations) == (before.text, before.citations)


def test_a_release_whose_files_are_gone_is_rebuilt_from_its_tag_and_dvcs_cache(
    served: Callable[[], Triton], shop: Path, tmp_path: Path
) -> None:
    triton = served()
    live_server.unload(triton, "r-two")
    for name in live_server.model_names("r-two"):
        shutil.rmtree(locations.repository() / name)
    assert release_id_in("models/champion/release.json") == "r-one"
    rollback.run("r-two", "ada", "it was good after all")
    assert client.ask("What can you tell?").release_id == "r-two"
    digest = release_files.find("r-two").model_digest
    assert files.digest(Path("models/champion")) == digest

    clone = tmp_path / "other"
    dvc = [sys.executable, "-m", "dvc"]
    use_cache = [*dvc, "cache", "dir", "--local", str(shop / ".dvc/cache")]
    subprocess.run(["git", "clone", "-q", str(shop), str(clone)], check=True)
    subprocess.run(["git", "checkout", "-q", "release/r-two"], cwd=clone, check=True)
    subprocess.run(use_cache, cwd=clone, check=True, capture_output=True)
    subprocess.run([*dvc, "checkout", "-q", "models/champion.dvc"], cwd=clone, check=True)
    assert files.digest(clone / "models/champion") == digest
    rollback.run("r-one", "ada", "as it was")
