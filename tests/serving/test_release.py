"""Releases on a live server: proof, canary, rollback and crashes, with `python -m pipelines serve` in a process of its own, under traffic."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import files, ledger
from pipelines.commands import champion, decide, release, rollback
from pipelines.config import params
from pipelines.contracts.answers import ANSWERS
from pipelines.errors import Refusal
from pipelines.serving import client, live
from pipelines.serving.server import Triton
from tests.serving.users import kill_server, questions, traffic

ROOT = Path(__file__).parents[2]
SLOW = "\nimport time\n\nquick = flags\n\n\ndef flags(question):\n    time.sleep(5 if 'tell' in question else 0)\n    return quick(question)\n"
FAILING = "\nfine = flags\n\n\ndef flags(question):\n    if 'tell' in question:\n        raise RuntimeError('this release cannot tell')\n    return fine(question)\n"


def events() -> list[tuple[str, str, str | None]]:
    return [(event.kind, event.step, event.release_id) for event in ledger.read()]


def test_the_first_release_is_proven_served_at_once_and_on_record(served: Callable[[], Triton], candidate: Callable[..., str], shop: Path) -> None:
    served()
    candidate("r-one")
    release.run("ada", "first")
    assert client.ask("What can you tell?").release_id == "r-one"
    assert events() == [("released", "release", "r-one")]
    assert champion.found("r-one").why == "first"
    tagged = subprocess.run(["git", "ls-tree", "-r", "--name-only", "release/r-one"], capture_output=True, text=True, check=True).stdout
    assert {"models/champion.dvc", "models/champion.json", "models/releases.jsonl", "data/index.json", "params.yaml"} <= set(tagged.split())


def test_a_candidate_that_a_person_refused_is_not_released_before_another_decision(served: Callable[[], Triton], candidate: Callable[..., str]) -> None:
    candidate("r-two")
    decide.run("refuse", "bob", "not yet")
    with pytest.raises(Refusal, match="bob refused candidate d at .*: not yet"):
        release.run("ada", "second")
    decide.run("approve", "bob", "now")
    assert events()[-3:] == [("refused", "approval", None), ("refused", "release", "r-two"), ("approved", "approval", None)]


def test_a_good_release_takes_over_step_by_step_while_every_request_is_answered(served: Callable[[], Triton], candidate: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    triton = served()
    candidate("r-two")
    with traffic() as seen:
        release.run("ada", "second")
    said = capsys.readouterr().out
    assert "r-two answers 50%: all" in said
    assert "r-two answers 100%: all" in said
    assert seen.errors == []
    assert seen.releases[0] == "r-one"
    assert seen.releases[-1] == "r-two"
    assert live.loaded(triton) == ["r-one", "r-two"]
    assert live.routes() == ([("r-two", 1.0)], None)


def test_a_rollback_switches_model_prompt_and_knowledge_without_loading_anything(served: Callable[[], Triton]) -> None:
    log = served().log
    before = log.read_text().count("successfully loaded")
    rollback.run(None, "ada", "the old one was better")
    assert client.ask("What can you tell?").release_id == "r-one"
    assert log.read_text().count("successfully loaded") == before > 0
    assert events()[-1] == ("rolled_back", "rollback", "r-one")
    assert json.loads(Path("models/champion.json").read_text())["champion"]["release_id"] == "r-one"
    assert json.loads(Path("models/champion/release.json").read_text())["release_id"] == "r-one"


@pytest.mark.parametrize(
    ("release_id", "guard", "settings", "reason"),
    [
        ("r-slow", SLOW, {}, "95th percentile of the time to the answer"),
        ("r-refusing", "", {"refusals": "all"}, "refusing answers"),
    ],
)
def test_a_release_that_is_worse_on_live_traffic_is_rolled_back_by_itself(
    served: Callable[[], Triton], candidate: Callable[..., str], release_id: str, guard: str, settings: dict[str, Any], reason: str
) -> None:
    triton = served()
    if settings:
        settings = {"refusals": [row["answer"] for row in files.read(Path("data/answers.parquet"), ANSWERS)] + [client.ask(question).text for question in questions()]}
    candidate(release_id, guard, **settings)
    with traffic() as seen, pytest.raises(Refusal, match=reason):
        release.take_over(params.load(), triton, release_id, "r-one")  # what `release` does after the proof
    assert live.routes() == ([("r-one", 1.0)], None)
    assert release_id not in live.loaded(triton)
    assert seen.releases[-1] == "r-one"
    assert seen.errors == []
    assert client.ask("What can you tell?").release_id == "r-one"


def test_a_release_that_failed_on_live_traffic_is_on_record_with_its_reason(served: Callable[[], Triton], candidate: Callable[..., str]) -> None:
    served()
    candidate("r-failing", FAILING)
    with traffic(), pytest.raises(Refusal, match="failed requests"):
        release.run("ada", "try again")
    assert events()[-1] == ("rolled_back", "canary", "r-failing")
    assert "failed requests" in ledger.read()[-1].why


def test_a_release_that_is_killed_in_the_middle_leaves_everything_to_the_old_one(served: Callable[[], Triton], candidate: Callable[..., str]) -> None:
    served()
    candidate("r-three")
    started = subprocess.Popen([sys.executable, "-m", "pipelines", "release", "--who", "ada", "--why", "third"], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while live.routes()[1] is None:  # the switch has begun
        assert time.monotonic() < deadline
        assert started.poll() is None
        time.sleep(0.1)
    started.kill()
    started.wait()
    deadline = time.monotonic() + 60
    while live.routes() != ([("r-one", 1.0)], None):
        assert time.monotonic() < deadline, live.routes()
        time.sleep(0.1)
    assert client.ask("What can you tell?").release_id == "r-one"


def test_a_server_that_is_killed_comes_back_with_the_released_version(served: Callable[[], Triton]) -> None:
    triton = served()
    log = Path("serve.log")
    before = log.read_text().count("Ctrl-C stops it")
    kill_server(triton)
    deadline = time.monotonic() + 600
    while log.read_text().count("Ctrl-C stops it") == before:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    assert client.ask("What can you tell?").release_id == "r-one"


def test_a_weaviate_that_is_killed_is_a_clear_error_until_serve_has_started_it_again(served: Callable[[], Triton], shop: Path, servers: Callable[[Path], list[int]]) -> None:
    served()
    before = client.ask("What can you tell?")
    (pid,) = servers(shop)
    os.kill(pid, signal.SIGKILL)
    errors: list[str] = []
    deadline = time.monotonic() + 600
    while True:
        try:
            after = client.ask("What can you tell?", seconds=10)
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


def test_a_release_whose_files_are_gone_is_rebuilt_from_its_tag_and_dvcs_cache(served: Callable[[], Triton], shop: Path, tmp_path: Path) -> None:
    triton = served()
    live.unload(triton, "r-two")
    for name in live.model_names("r-two"):
        shutil.rmtree(live.repository() / name)
    assert json.loads(Path("models/champion/release.json").read_text())["release_id"] == "r-one"
    rollback.run("r-two", "ada", "it was good after all")
    assert client.ask("What can you tell?").release_id == "r-two"
    assert files.digest(Path("models/champion")) == champion.found("r-two").model_digest

    other = tmp_path / "other"
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run(["git", "clone", "-q", str(shop), str(other)], check=True)
    subprocess.run(["git", "checkout", "-q", "release/r-two"], cwd=other, check=True)
    subprocess.run([*dvc, "cache", "dir", "--local", str(shop / ".dvc/cache")], cwd=other, check=True, capture_output=True)
    subprocess.run([*dvc, "checkout", "-q", "models/champion.dvc"], cwd=other, check=True)
    assert files.digest(other / "models/champion") == champion.found("r-two").model_digest
    rollback.run("r-one", "ada", "as it was")
