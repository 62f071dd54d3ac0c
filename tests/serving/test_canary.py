"""What follows for a step of a switch from what the releases do on live traffic."""

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines import files
from pipelines.config.canary import CanaryConfig
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.errors import Refusal
from pipelines.serving import canary, live_routes, live_server, recent_traffic
from pipelines.serving.canary import Handover, Outcome
from pipelines.serving.declarations import NOTHING
from pipelines.serving.release_comparison import Declaration
from pipelines.serving.triton_connection import Triton
from tests.serving.routed_rows import CONFIG, Change, every, rows


def log_requests(count: int, minutes_ago: float, change: Change = lambda number: {}) -> None:
    """Write requests into the clone's traffic log, routed as in the first step."""
    logged: list[dict[str, Any]] = []
    now = datetime.datetime.now(datetime.UTC)
    for row in rows(count, change):
        moment = now - datetime.timedelta(minutes=minutes_ago)
        other: dict[str, Any] = {
            "question": "?",
            "retrieved": [],
            "answer": "!",
            "error": None,
            "guard_flags": [],
        }
        other |= {"num_prompt_tokens": 1, "num_new_tokens": 1, "cost": 0.0, "time": moment}
        other |= {f"{step}_ms": 1.0 for step in ("guard", "embed", "search", "generate")}
        logged.append({**row, **other, "request_id": row["request_id"]})
    write_later(Path(f"data/traffic/requests/{time.monotonic_ns()}.parquet"), REQUESTS, logged)


def write_later(path: Path, schema: pa.Schema, records: list[dict[str, Any]]) -> None:
    """As if the file were written in an hour: rows of a switch are written after it began."""
    files.write(path, schema, records)
    later = time.time() + 3600
    os.utime(path, (later, later))


def hand_over(clone: Path, declaration: Declaration = NOTHING) -> Handover:
    """From r-old to r-new, on a server that nobody reaches."""
    unreachable = Triton(0, 0, 0, clone / "server.log", None)
    return Handover("r-new", "r-old", unreachable, clone / "data/traffic", declaration)


def refusal(outcome: Outcome) -> str:
    with pytest.raises(Refusal) as caught:
        outcome.report.demand("the release", "Nothing changes.")
    return str(caught.value)


@pytest.fixture
def quick_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow one another at once; both releases are loaded."""
    monkeypatch.setattr(canary, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(live_server, "loaded_releases", lambda _: ["r-new", "r-old"])


HASTY = CONFIG.model_copy(update={"max_step_seconds": 0.05})


@pytest.mark.usefixtures("quick_server")
@pytest.mark.parametrize(
    ("change", "declaration", "release"),
    [
        (every(1), Declaration(), "r-new"),
        (every(1, status="failed", answer=None), Declaration(), "r-old"),
        (every(1, total_ms=4000.0), Declaration(), "r-old"),
        (every(1, total_ms=4000.0), Declaration(latency_ratio=50.0), "r-new"),
    ],
)
def test_a_release_takes_over_unless_it_is_worse_than_declared(
    clone: Path, change: Change, declaration: Declaration, release: str
) -> None:
    log_requests(600, minutes_ago=-5, change=change)  # after the beginning of every step
    outcome = canary.switch(HASTY, hand_over(clone, declaration))
    assert outcome.report.passed is (release == "r-new")
    assert (release, 1.0) in live_routes.read().shares


@pytest.mark.usefixtures("quick_server")
def test_what_cannot_be_told_in_time_follows_the_rule_and_is_on_record(clone: Path) -> None:
    log_requests(20, minutes_ago=-5)
    going_on = canary.switch(HASTY, hand_over(clone))
    assert going_on.report.passed
    assert "of 50 requests (canary.min_requests)" in going_on.gaps[0]
    assert any("10% more is not ruled out" in text for text in going_on.gaps)
    strict = HASTY.model_copy(update={"undecided": "roll_back"})
    text = refusal(canary.switch(strict, hand_over(clone)))
    assert "undecided after 0.05 s (canary.max_step_seconds)" in text
    assert live_routes.read().shares == [("r-old", 1.0)]


@pytest.mark.usefixtures("quick_server")
def test_a_release_held_for_want_of_requests_goes_on_when_they_come(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    read = recent_traffic.requests

    def read_and_count(folder: Path, since: float) -> list[dict[str, Any]]:
        looks.append(since)
        if len(looks) == 20:
            log_requests(600, minutes_ago=-5)
        return read(folder, since)

    monkeypatch.setattr(recent_traffic, "requests", read_and_count)
    patient = HASTY.model_copy(update={"undecided": "hold", "steps": [0.5, 1.0]})
    monkeypatch.setattr(canary, "_missing", only_the_comparison(canary._missing))
    outcome = canary.switch(patient, hand_over(clone))
    assert outcome.report.passed
    assert outcome.gaps == []
    assert len(looks) >= 20


def only_the_comparison(missing: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Nothing is missing in the last step: the log of this test holds no requests of it."""

    def find(config: CanaryConfig, step: canary.Step, *others: Any) -> list[str]:
        return missing(config, step, *others) if step.is_last_comparison else []

    return find


@pytest.mark.usefixtures("quick_server")
def test_a_release_that_nobody_asked_anything_never_goes_on(clone: Path) -> None:
    text = refusal(canary.switch(HASTY, hand_over(clone)))
    assert "expected at least one request to the new release before it answers everything" in text


@pytest.mark.usefixtures("quick_server")
def test_a_thumb_in_the_log_is_read(clone: Path) -> None:
    log_requests(600, minutes_ago=-5)
    requests = recent_traffic.requests(clone / "data/traffic", 0)
    feedback: list[dict[str, Any]] = []
    for row in requests:
        thumb = -1 if row["release_id"] == "r-new" else 1
        feedback.append(
            {
                "request_id": row["request_id"],
                "time": row["time"],
                "who": "ada",
                "thumb": thumb,
                "correction": None,
                "comment": None,
            }
        )
    write_later(Path("data/traffic/feedback/1.parquet"), FEEDBACK, feedback)
    assert "thumbs down: 100.0% of" in refusal(canary.switch(HASTY, hand_over(clone)))


def test_a_server_that_is_gone_and_routes_that_others_changed_end_a_switch_with_a_remedy(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "LOOK_SECONDS", 0.01)
    text = refusal(canary.switch(CONFIG, hand_over(clone)))
    assert "the live server answers: it does not answer" in text
    assert "`make serve` starts it again" in text

    monkeypatch.setattr(live_server, "loaded_releases", lambda _: ["r-old"])
    assert "has unloaded r-new" in refusal(canary.switch(CONFIG, hand_over(clone)))

    def change_routes(_: Triton) -> list[str]:
        live_routes.write([("r-old", 1.0)])
        return ["r-old", "r-new"]

    monkeypatch.setattr(live_server, "loaded_releases", change_routes)
    text = refusal(canary.switch(CONFIG, hand_over(clone)))
    assert "they were changed meanwhile" in text
    assert "`python -m pipelines releases` says what is live" in text
