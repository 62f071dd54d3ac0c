"""Releases on a live server: proof, canary, rollback and crashes, with `python -m pipelines serve` in a process of its own, under traffic."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import files, ledger
from pipelines.commands import champion, decide, release, rollback
from pipelines.config import params
from pipelines.contracts.answers import ANSWERS, METRICS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import Interval, Scores, System
from pipelines.contracts.verdict import Verdict
from pipelines.errors import Refusal
from pipelines.serving import client, live
from pipelines.serving.server import Triton
from pipelines.vectorstore import collections

ROOT = Path(__file__).parents[2]
CANARY = {
    "steps": [0.5, 1.0], "min_requests": 10, "min_measured": 3, "max_step_seconds": 60.0, "max_error_rate_increase": 0.05, "max_latency_ratio": 2.0, "max_groundedness_drop": 0.3, "max_refused_increase": 0.2,
    "max_thumbs_drop": 0.1, "min_thumbs": 5,
}  # fmt: skip
SLOW = "\nimport time\n\nquick = flags\n\n\ndef flags(question):\n    time.sleep(5 if 'tell' in question else 0)\n    return quick(question)\n"
FAILING = "\nfine = flags\n\n\ndef flags(question):\n    if 'tell' in question:\n        raise RuntimeError('this release cannot tell')\n    return fine(question)\n"


@pytest.fixture(scope="module")
def shop(serving: Path, models: Path) -> Path:
    """A clone with DVC, small parameters, the tiny assistant's data, and a verdict that accepts its candidate."""
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, name)
    Path(".gitignore").write_text(".state/\n")
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["canary"] = CANARY
    values["proof"] = {"num_questions": 8, "min_same_answers": 1.0, "min_same_citations": 1.0}
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    Path("data/reports").mkdir(parents=True)
    for name in ("chunks.parquet", "vectors.parquet"):
        shutil.copy(models / name, Path("data") / name)
    for words in (
        ["git", "add", "params.yaml", "dvc.yaml", ".gitignore"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start"],
        [sys.executable, "-m", "dvc", "init", "-q"],
    ):
        subprocess.run(words, check=True)
    files.write_json(Path("data/index.json"), collections.build(Path("data/chunks.parquet"), Path("data/vectors.parquet"), keep=3, sample=4, hybrid_alpha=0.7))
    met = Interval(value=0.81, low=0.76, high=0.85, num=300)
    systems = {"candidate": System(metrics={"exact_match": met}, slices={})}
    files.write_json(Path("data/reports/scores.json"), Scores(candidate="d", champion=None, num_questions=300, golden_digest="g", systems=systems, differences={}))
    files.write_json(Path("data/reports/verdict.json"), Verdict(accepted=True, candidate="d", reason="accepted", rules=[], overrides=[]))
    return serving


@pytest.fixture(scope="module")
def candidate(shop: Path, export: Callable[..., ReleaseRecord], evaluated: Callable[[Receipt], list[dict[str, Any]]]) -> Callable[..., str]:
    """Puts a candidate into models/triton: a good one, or one whose guard gets this text appended, or with other settings."""
    receipt = files.read_json(Path("data/index.json"), Receipt)
    fixed: dict[str, Any] = {
        "system": "candidate",
        "expected": "e",
        "kind": "faq",
        "topic": "t",
        "style": "plain",
        "page": None,
        "retrieved": [],
        "num_prompt_tokens": 1,
        **dict.fromkeys(METRICS, None),
    }
    files.write(Path("data/answers.parquet"), ANSWERS, [{**fixed, **row, "id": f"q-{number}"} for number, row in enumerate(evaluated(receipt))])

    def made(release_id: str, guard: str = "", **settings: Any) -> str:
        with files.replacing(Path("models/triton")) as target:
            target.mkdir()
            export(target, receipt, release_id, **settings)
            path = target / "assistant/1/guard.py"
            path.write_text(path.read_text() + guard)
        return release_id

    return made


@pytest.fixture(scope="module")
def served(shop: Path) -> Iterator[Callable[[], Triton]]:
    """`serve` in a process of its own; gives the live server, waiting for it where it is starting."""
    log = shop / "serve.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "pipelines", "serve"], stdout=out, stderr=out, env=environment)

    def server() -> Triton:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            found = live.running()
            if found and "Ctrl-C stops it" in log.read_text():
                return found
            time.sleep(0.2)
        raise AssertionError(f"no server within 90 s: {log.read_text()}")

    yield server
    process.terminate()
    assert process.wait(60) == 0, log.read_text()
    assert live.running() is None


class Traffic:
    """What users saw while a release was under way."""

    def __init__(self) -> None:
        self.releases: list[str] = []
        self.errors: list[str] = []


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Users who ask until the block ends."""
    seen, ended = Traffic(), threading.Event()

    def ask() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            try:
                seen.releases.append(client.ask(f"What can you tell about number {number}?", seconds=15).release_id)
            except client.AskError as error:
                seen.errors.append(str(error))
                time.sleep(0.2)

    users = [threading.Thread(target=ask) for _ in range(3)]
    for user in users:
        user.start()
    try:
        yield seen
    finally:
        ended.set()
        for user in users:
            user.join()


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


def test_a_rollback_switches_model_prompt_and_knowledge_in_seconds(served: Callable[[], Triton]) -> None:
    served()
    began = time.monotonic()
    rollback.run(None, "ada", "the old one was better")
    assert client.ask("What can you tell?").release_id == "r-one"
    assert time.monotonic() - began < 10
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
        settings = {
            "refusals": [row["answer"] for row in files.read(Path("data/answers.parquet"), ANSWERS)] + [client.ask(f"What can you tell about number {number}?").text for number in range(1, 80)]
        }
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
    deadline = time.monotonic() + 90
    while live.routes()[1] is None:  # the switch has begun
        assert time.monotonic() < deadline
        assert started.poll() is None
        time.sleep(0.1)
    started.kill()
    started.wait()
    deadline = time.monotonic() + 10
    while live.routes() != ([("r-one", 1.0)], None):
        assert time.monotonic() < deadline, live.routes()
        time.sleep(0.1)
    assert client.ask("What can you tell?").release_id == "r-one"


def test_a_server_that_is_killed_comes_back_with_the_released_version(served: Callable[[], Triton]) -> None:
    triton = served()
    log = Path("serve.log")
    pid = next(int(line) for line in subprocess.run(["pgrep", "-f", f"tritonserver.*--grpc-port={triton.grpc_port}"], capture_output=True, text=True).stdout.split())
    before = log.read_text().count("Ctrl-C stops it")
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 90
    while log.read_text().count("Ctrl-C stops it") == before:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    assert client.ask("What can you tell?").release_id == "r-one"
