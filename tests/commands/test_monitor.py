"""The whole command over a real log, with the real encoder, Great Expectations and Evidently.

The log's rows are written as serving writes them.
"""

import argparse
import datetime
import random
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.commands import accept, monitor, review
from pipelines.config import params
from pipelines.contracts.drift import Decision, Verdict
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.errors import UserError
from pipelines.monitoring import cycle, decisions
from pipelines.monitoring.reference import KNOWN_QUESTIONS
from pipelines.questions import golden, reviews
from pipelines.system import locks

ROOT = Path(__file__).parents[2]
START = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(hours=20)
GOLDEN = [question.question for question in golden.load(ROOT / "data/golden")]
BOOKING_TEMPLATES = [
    "How do I book the GPU machine {}?",
    "Can I reserve the shared GPU server {}?",
    "who has the gpu booked {}",
    "free gpu slot {}",
]
BOOKING_TIMES = [
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
BOOKING = [text.format(time) for time in BOOKING_TIMES for text in BOOKING_TEMPLATES]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def workspace(clone: Path) -> Path:
    """A clone with this repository's parameters and a part of its FAQ and golden set.

    It resamples less often.
    """
    shutil.copytree(ROOT / "data/golden", clone / "data/golden")
    (clone / "data/faq").mkdir()
    for name in ("gate", "setup", "releases", "refusals", "chunking"):
        shutil.copy(ROOT / f"data/faq/{name}.yaml", clone / "data/faq")
    text = (ROOT / "params.yaml").read_text()
    text = re.sub(r"num_resamples: 2000 +# random div", "num_resamples: 1000 # random div", text)
    (clone / "params.yaml").write_text(text)
    return clone


def steady(count: int, seed: int) -> list[str]:
    """Questions of the golden set, chosen at random."""
    dice = random.Random(seed)
    return [dice.choice(GOLDEN) for _ in range(count)]


def ask(name: str, questions: list[str], hour: float, release: str = "r-1", **changes: Any) -> None:
    """Log requests that came from `hour` on, every ten seconds; those about booking are corrected.

    `changes` are made to every row.
    """
    dice = random.Random(name)
    requests: list[dict[str, Any]] = []
    feedback: list[dict[str, Any]] = []
    for number, question in enumerate(questions):
        request_id = f"{name}-{number}"
        time = START + datetime.timedelta(hours=hour, seconds=10 * number)
        facts = {"request_id": request_id, "time": time, "release_id": release}
        requests.append(request_row(dice) | facts | {"question": question} | changes)
        if question in BOOKING:
            feedback.append(correction_row(request_id, time))
    files.write(Path(f"data/traffic/requests/{name}.parquet"), REQUESTS, requests)
    if feedback:
        files.write(Path(f"data/traffic/feedback/{name}.parquet"), FEEDBACK, feedback)


def request_row(dice: random.Random) -> dict[str, Any]:
    """An answered request at random, without id, time, release and question."""
    scores = sorted((dice.random() for _ in range(3)), reverse=True)
    passages = []
    for rank, score in enumerate(scores):
        page = dice.choice(["handbook/gate.md", "handbook/setup.md"])
        passages.append({"chunk_id": f"c{rank}", "uri": page, "score": score})
    total_ms = dice.lognormvariate(4, 0.3)
    return {
        "tenant": "default",
        "position": 0.5,
        "retrieved": passages,
        "answer": dice.choice(["Run it.", "Read it.", "Stop it."]),
        "status": "ok",
        "error": None,
        "refused": dice.random() < 0.1,
        "guard_flags": [],
        "groundedness": dice.random(),
        "num_prompt_tokens": 20,
        "num_new_tokens": dice.randint(5, 20),
        "guard_ms": 0.1,
        "embed_ms": 5.0,
        "search_ms": 8.0,
        "generate_ms": 40.0,
        "total_ms": total_ms,
        "cost": 0.00001,
    }


def correction_row(request_id: str, time: datetime.datetime) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "time": time,
        "who": "user",
        "thumb": -1,
        "correction": "Book it in the team calendar.",
        "comment": None,
    }


def judge(run_id: str | None = None, running: int | None = 0) -> Decision:
    """What the command decides on the next window."""
    assert monitor.run(run_id, running) == 0
    return files.read_json(Path("data/reports/drift/verdict.json"), Decision)


def verdict_of(decision: Decision) -> Verdict:
    return files.read_json(Path(f"data/reports/drift/windows/{decision.window}.json"), Verdict)


def num_decisions() -> int:
    return len(decisions.read(Path("data/reports/drift/decisions.jsonl")).decisions)


def accept_all_reviews(page: str) -> None:
    parser = argparse.ArgumentParser()
    review.add_arguments(parser)
    options = ["--who", "ada", "--decision", "accept", "--request", "all", "--page", page]
    review.run(parser.parse_args(options))


def test_traffic_is_watched_from_the_first_window_to_the_start_of_training_and_its_cooldown(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("a", steady(120, 1), 0)
    first = judge()
    assert (first.outcome, first.reaction, first.accepted) == ("no_drift", "none", True)
    assert verdict_of(first).baseline_kind == "golden"

    ask("b", steady(120, 2), 1)
    second = judge()
    assert (second.outcome, second.accepted) == ("no_drift", True)
    assert verdict_of(second).baseline_kind == "live"

    ask("c", steady(80, 3) + BOOKING, 2)
    third = judge("run-3")
    assert (third.outcome, third.reaction, third.accepted) == ("drift", "human", False)
    assert {"new_topic", "corrections"} <= set(third.signals)
    assert "0 reviewed questions of 20 needed; 40 feedbacks wait" in third.reason
    (new_topic,) = [item for item in verdict_of(third).signals if item.name == "new_topic"]
    assert len(new_topic.examples) == 3
    assert all("gpu" in question.lower() for question in new_topic.examples)

    accept_all_reviews("handbook/gpu.md")
    assert len(reviews.read(Path("data/reviews.jsonl"))) == 40

    ask("d", steady(80, 4) + BOOKING, 3)
    fourth = judge("run-4")
    assert (fourth.wanted, fourth.reaction) == ("train", "train")
    assert judge("run-4") == fourth
    assert num_decisions() == 4

    ask("e", steady(80, 5) + BOOKING, 4)
    fifth = judge("run-5", running=1)
    assert (fifth.wanted, fifth.reaction) == ("train", "none")
    assert fifth.blocked_by == ["cooldown", "daily_budget", "already_running"]

    page = " ".join(Path("data/reports/drift/index.html").read_text().split())
    assert page.count('<tr class="bad">') == 3
    assert "wanted train; cooldown, daily budget, already running" in page
    assert "reaction train" in capsys.readouterr().out


def test_what_cannot_be_told_is_never_no_drift_and_its_requests_wait(workspace: Path) -> None:
    empty = judge()
    assert (empty.outcome, empty.reaction) == ("cannot_tell", "none")
    assert empty.reason == "Cannot tell: no request has come since the last window."

    ask("a", steady(60, 1), 0)
    few = judge()
    assert (few.outcome, few.judged_to) == ("cannot_tell", None)
    assert few.reason == "Cannot tell: 60 of 100 requests have come since the last window."

    ask("b", steady(60, 2), 1)
    whole = judge()
    assert whole.outcome == "no_drift"
    assert verdict_of(whole).num_requests == 120


def test_a_second_run_waits_for_the_first_so_that_nothing_is_judged_or_started_twice(
    workspace: Path,
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with locks.exclusive(workspace / ".state/monitor.lock"):
            second = pool.submit(monitor.run, None, 0)
            with pytest.raises(TimeoutError):
                second.result(timeout=1)
        assert second.result(timeout=60) == 0
    assert num_decisions() == 1


def test_running_work_is_counted_once_and_only_when_a_window_is_decided(workspace: Path) -> None:
    calls: list[str] = []

    def count_running() -> int:
        calls.append("count")
        return 0

    settings = monitor._settings(params.load())
    first = cycle.run(settings, "run-1", count_running)
    assert cycle.run(settings, "run-1", count_running) == first
    assert calls == ["count"]


def test_a_release_whose_name_would_lead_elsewhere_is_refused(workspace: Path) -> None:
    ask("a", steady(120, 1), 0, release="../../etc")
    with pytest.raises(UserError, match="is not the name of a release"):
        monitor.run(None, 0)


def test_a_broken_file_of_the_log_is_named_and_nothing_is_lost(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("a", steady(120, 1), 0)
    broken = Path("data/traffic/requests/b.parquet")
    broken.write_bytes(Path("data/traffic/requests/a.parquet").read_bytes()[:999])
    decision = judge()
    assert (decision.outcome, decision.judged_to) == ("cannot_tell", None)
    assert "data/traffic/requests/b.parquet: cannot be read as Parquet" in decision.reason
    assert "retention: stopped, what is too old stays" in capsys.readouterr().out

    broken.rename("b.parquet")
    assert judge().outcome == "no_drift"
    assert Path("b.parquet").stat().st_size == 999


def log_gap() -> None:
    ask("a", steady(60, 1), -60)
    ask("b", steady(60, 2), 0)


def log_flood() -> None:
    ask("a", [*steady(70, 1), *["Buy now"] * 50], 0)


def log_failures() -> None:
    ask("a", steady(120, 1), 0, status="failed", answer=None, error="gone")


def log_future() -> None:
    ask("a", steady(120, 1), 30)


def log_duplicates() -> None:
    ask("a", steady(60, 1), 0)
    ask("b", steady(60, 2), 0)
    ask("c", steady(120, 1), 1)
    shutil.copy("data/traffic/requests/c.parquet", "data/traffic/requests/d.parquet")


@pytest.mark.parametrize(
    ("write_log", "problem"),
    [
        (log_gap, "no gap in time, in hours: "),
        (log_flood, "no question floods the window: "),
        (log_failures, "share of failed requests: "),
        (log_future, "no row from the future, in minutes: "),
        (log_duplicates, "request ids are unique: "),
    ],
)
def test_a_log_that_is_readable_but_broken_is_used_up_and_named(
    workspace: Path, write_log: Any, problem: str
) -> None:
    write_log()
    decision = judge()
    assert decision.outcome == "cannot_tell"
    assert problem in decision.reason
    assert decision.judged_to is not None
    assert datetime.datetime.fromisoformat(decision.judged_to) <= cycle.now()


def test_a_person_may_say_that_a_window_is_what_traffic_should_look_like(workspace: Path) -> None:
    ask("a", BOOKING + steady(80, 1), 0)
    drift = judge()
    assert (drift.outcome, drift.reaction) == ("drift", "human")
    assert f"python -m pipelines accept {drift.window}" in drift.reason

    message = "w-none is not a window that was judged; the last ones are w-"
    with pytest.raises(UserError, match=message):
        accept.run("w-none", "ada", "new product")
    accept.run(drift.window, "ada", "new product")

    ask("b", BOOKING + steady(80, 2), 1)
    second = judge()
    verdict = verdict_of(second)
    assert second.outcome == "no_drift"
    assert (verdict.baseline_kind, verdict.baseline) == ("live", drift.window)


def git(*arguments: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *author, *arguments], check=True)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_run_killed_before_its_line_judges_again_with_the_questions_of_the_releases_tag(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("add", "data/faq", "data/golden")
    git("commit", "--quiet", "-m", "one")
    git("tag", "release/r-1")
    (workspace / "data/faq/gate.yaml").unlink()
    ask("a", steady(120, 1), 0)
    with monkeypatch.context() as patch:
        patch.setattr(decisions, "append", interrupt)
        with pytest.raises(KeyboardInterrupt):
            monitor.run("run-1", 0)

    decision = judge("run-1")

    assert decision.outcome == "no_drift"
    assert verdict_of(decision).num_requests == 120
    assert num_decisions() == 1
    known_questions = Path("data/reports/drift/known/r-1.parquet")
    assert files.metadata(known_questions) == {"source": "Git tag release/r-1"}
    questions = [row["question"] for row in files.read(known_questions, KNOWN_QUESTIONS)]
    assert sum("gate" in question for question in questions) > 50
