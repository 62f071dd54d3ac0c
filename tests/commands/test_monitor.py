"""The whole command over a real log: real encoder, Great Expectations and Evidently; the log's rows are written as serving writes them."""

import argparse
import datetime
import fcntl
import os
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.commands import accept, monitor, review, traffic
from pipelines.contracts.drift import Decision, Verdict
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.errors import UserError
from pipelines.monitoring import reactions as decisions
from pipelines.monitoring.reference import KNOWN
from pipelines.questions import golden, reviews

ROOT = Path(__file__).parents[2]
START = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(hours=20)
pytestmark = pytest.mark.filterwarnings("ignore")
PLACES = [
    "for tomorrow",
    "next week",
    "at night",
    "for my team",
    "this afternoon",
    "on Monday",
    "for two hours",
    "over the weekend",
    "before the demo",
    "in the lab",
]
BOOKING = [
    text.format(place)
    for place in PLACES
    for text in (
        "How do I book the GPU machine {}?",
        "Can I reserve the shared GPU server {}?",
        "who has the gpu booked {}",
        "free gpu slot {}",
    )
]


@pytest.fixture
def workspace(clone: Path) -> Path:
    """A clone with this repository's parameters and a part of its FAQ and golden set; small draws."""
    shutil.copytree(ROOT / "data/golden", clone / "data/golden")
    (clone / "data/faq").mkdir()
    for name in ("gate", "setup", "releases", "refusals", "chunking"):
        shutil.copy(ROOT / f"data/faq/{name}.yaml", clone / "data/faq")
    text = (ROOT / "params.yaml").read_text()
    (clone / "params.yaml").write_text(
        re.sub(r"num_resamples: 2000 +# random div", "num_resamples: 1000 # random div", text)
    )
    return clone


def steady(count: int, seed: int) -> list[str]:
    dice = random.Random(seed)
    return [dice.choice(QUESTIONS) for _ in range(count)]


QUESTIONS = [question.question for question in golden.load(ROOT / "data/golden")]


def ask(name: str, questions: list[str], hour: float, release: str = "r-1", **changed: Any) -> None:
    """Log requests that came from `hour` on; the first 40 % of those about booking are corrected."""
    dice = random.Random(name)
    rows, said = [], []
    for number, question in enumerate(questions):
        when = START + datetime.timedelta(hours=hour, seconds=10 * number)
        passages = [
            {
                "chunk_id": f"c{place}",
                "uri": dice.choice(["handbook/gate.md", "handbook/setup.md"]),
                "score": score,
            }
            for place, score in enumerate(sorted((dice.random() for _ in range(3)), reverse=True))
        ]
        timing = {
            "guard_ms": 0.1,
            "embed_ms": 5.0,
            "search_ms": 8.0,
            "generate_ms": 40.0,
            "total_ms": dice.lognormvariate(4, 0.3),
        }
        row = {
            "request_id": f"{name}-{number}", "time": when, "release_id": release, "tenant": "default", "question": question, "retrieved": passages, "answer": dice.choice(["Run it.", "Read it.", "Stop it."]),
            "status": "ok", "error": None, "refused": dice.random() < 0.1, "guard_flags": [], "groundedness": dice.random(), "num_prompt_tokens": 20, "num_new_tokens": dice.randint(5, 20), "cost": 0.00001, **timing,
        }  # fmt: skip
        rows.append(row | changed)
        if question in BOOKING:
            said.append(
                {
                    "request_id": row["request_id"],
                    "time": when,
                    "who": "user",
                    "thumb": -1,
                    "correction": "Book it in the team calendar.",
                    "comment": None,
                }
            )
    files.write(Path(f"data/traffic/requests/{name}.parquet"), REQUESTS, rows)
    if said:
        files.write(Path(f"data/traffic/feedback/{name}.parquet"), FEEDBACK, said)


def judged(run_id: str | None = None, running: int | None = 0) -> Decision:
    assert monitor.run(run_id, running) == 0
    return files.read_json(Path("data/reports/drift/verdict.json"), Decision)


def verdict(decision: Decision) -> Verdict:
    return files.read_json(Path(f"data/reports/drift/windows/{decision.window}.json"), Verdict)


def test_traffic_is_watched_from_the_first_window_to_the_start_of_training_and_its_cooldown(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("a", steady(120, 1), 0)
    first = judged()
    assert (first.outcome, first.reaction, first.accepted) == ("no_drift", "none", True)
    assert verdict(first).baseline_kind == "golden"

    ask("b", steady(120, 2), 1)
    second = judged()
    assert (second.outcome, second.accepted, verdict(second).baseline_kind) == (
        "no_drift",
        True,
        "live",
    )

    ask("c", steady(80, 3) + BOOKING, 2)
    third = judged("run-3")
    assert (third.outcome, third.reaction, third.accepted) == ("drift", "human", False)
    assert {"new_topic", "corrections"} <= set(third.signals)
    assert "0 reviewed questions of 20 needed; 40 feedbacks wait" in third.reason
    shown = next(signal for signal in verdict(third).signals if signal.name == "new_topic")
    assert len(shown.examples) == 3
    assert all("gpu" in question.lower() for question in shown.examples)

    decision = ["--decision", "accept", "--request", "all", "--page", "handbook/gpu.md"]
    parser = argparse.ArgumentParser()
    review.add_arguments(parser)
    review.run(parser.parse_args(["--who", "ada", *decision]))
    assert len(reviews.read(Path("data/reviews.jsonl"))) == 40

    ask("d", steady(80, 4) + BOOKING, 3)
    fourth = judged("run-4")
    assert (fourth.wanted, fourth.reaction) == ("train", "train")
    assert judged("run-4") == fourth
    assert len(decisions.read(Path("data/reports/drift/decisions.jsonl"))[0]) == 4

    ask("e", steady(80, 5) + BOOKING, 4)
    fifth = judged("run-5", running=1)
    assert (fifth.wanted, fifth.reaction, fifth.blocked_by) == (
        "train",
        "none",
        ["cooldown", "daily_budget", "already_running"],
    )

    page = Path("data/reports/drift/index.html").read_text()
    assert page.count('<tr class="drift">') == 3
    assert "wanted train; cooldown, daily budget, already running" in page
    assert "reaction train" in capsys.readouterr().out


def test_what_cannot_be_told_is_never_no_drift_and_its_requests_wait(workspace: Path) -> None:
    empty = judged()
    assert (empty.outcome, empty.reaction, empty.reason) == (
        "cannot_tell",
        "none",
        "Cannot tell: no request has come since the last window.",
    )
    ask("a", steady(60, 1), 0)
    few = judged()
    assert (few.outcome, few.judged_to, few.reason) == (
        "cannot_tell",
        None,
        "Cannot tell: 60 of 100 requests have come since the last window.",
    )
    ask("b", steady(60, 2), 1)
    whole = judged()
    assert (whole.outcome, verdict(whole).num_requests) == ("no_drift", 120)


def test_a_second_run_waits_for_the_first_so_that_nothing_is_judged_or_started_twice(
    workspace: Path,
) -> None:
    (workspace / ".state").mkdir(exist_ok=True)
    with (workspace / ".state/monitor.lock").open("w") as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = pool.submit(monitor.run, None, 0)
        with pytest.raises(TimeoutError):
            second.result(timeout=1)
        fcntl.flock(held, fcntl.LOCK_UN)
        assert second.result(timeout=60) == 0
    assert len(decisions.read(Path("data/reports/drift/decisions.jsonl"))[0]) == 1


def test_a_release_whose_name_would_lead_elsewhere_is_refused(workspace: Path) -> None:
    ask("a", steady(120, 1), 0, release="../../etc")
    with pytest.raises(UserError, match="is no name of a release"):
        monitor.run(None, 0)


def test_a_broken_log_is_told_by_file_and_loses_nothing(workspace: Path) -> None:
    ask("a", steady(120, 1), 0)
    broken = Path("data/traffic/requests/b.parquet")
    broken.write_bytes(Path("data/traffic/requests/a.parquet").read_bytes()[:999])
    found = judged()
    assert (found.outcome, found.judged_to) == ("cannot_tell", None)
    assert "data/traffic/requests/b.parquet: cannot be read as Parquet" in found.reason
    broken.rename("b.kept")
    assert (judged().outcome, Path("b.kept").stat().st_size) == ("no_drift", 999)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gap", "no gap in time, in hours: "),
        ("flood", "no question floods the window: "),
        ("failed", "share of failed requests: "),
        ("future", "no row from the future, in minutes: "),
        ("again", "request ids are unique: "),
    ],
)
def test_a_log_that_is_readable_but_broken_is_used_up_and_named(
    workspace: Path, name: str, told: str
) -> None:
    if name == "failed":
        ask("a", steady(120, 1), 0, status="failed", answer=None, error="gone")
    elif name == "future":
        ask("a", steady(120, 1), 30)
    elif name == "flood":
        ask("a", [*steady(70, 1), *["Buy now"] * 50], 0)
    else:
        ask("a", steady(60, 1), -60 if name == "gap" else 0)
        ask("b", steady(60, 2), 0)
        if name == "again":
            ask("c", steady(120, 1), 1)
            shutil.copy("data/traffic/requests/c.parquet", "data/traffic/requests/d.parquet")
    found = judged()
    assert found.outcome == "cannot_tell"
    assert told in found.reason
    assert found.judged_to is not None
    assert datetime.datetime.fromisoformat(found.judged_to) <= traffic.now()


def test_a_person_may_say_that_a_window_is_what_traffic_should_look_like(workspace: Path) -> None:
    ask("a", BOOKING + steady(80, 1), 0)
    found = judged()
    assert (found.outcome, found.reaction) == ("drift", "human")
    assert f"python -m pipelines accept {found.window}" in found.reason
    with pytest.raises(
        UserError, match="w-none is no window that was judged; the last ones are w-"
    ):
        accept.run("w-none", "ada", "new product")
    accept.run(found.window, "ada", "new product")
    ask("b", BOOKING + steady(80, 2), 1)
    again = judged()
    assert (again.outcome, verdict(again).baseline_kind, verdict(again).baseline) == (
        "no_drift",
        "live",
        found.window,
    )


def test_a_run_that_was_killed_before_its_line_judges_the_same_requests_again_with_the_questions_of_the_releases_tag(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        assert (
            os.spawnlp(os.P_WAIT, "git", "git", "-c", "user.name=a", "-c", "user.email=a@b", *words)
            == 0
        )

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    git("add", "data/faq", "data/golden")
    git("commit", "--quiet", "-m", "one")
    git("tag", "release/r-1")
    (workspace / "data/faq/gate.yaml").unlink()
    ask("a", steady(120, 1), 0)
    with monkeypatch.context() as patch:
        patch.setattr(decisions, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            monitor.run("run-1", 0)
    found = judged("run-1")
    assert (found.outcome, verdict(found).num_requests) == ("no_drift", 120)
    assert len(decisions.read(Path("data/reports/drift/decisions.jsonl"))[0]) == 1
    kept = Path("data/reports/drift/known/r-1.parquet")
    assert files.metadata(kept) == {"source": "Git tag release/r-1"}
    assert sum("gate" in row["question"] for row in files.read(kept, KNOWN)) > 50
