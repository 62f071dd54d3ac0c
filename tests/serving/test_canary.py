"""Comparing two releases on live traffic, and what follows for a step of a switch."""

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines import files
from pipelines.config.canary import CanaryConfig, Limit, LimitsConfig
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.errors import Refusal
from pipelines.runtime import routing
from pipelines.serving import canary, live_routes, live_server, recent_traffic
from pipelines.serving.canary import Handover, Outcome
from pipelines.serving.declarations import NOTHING
from pipelines.serving.live_comparison import LiveComparison, Phase
from pipelines.serving.release_comparison import Declaration
from pipelines.serving.triton_connection import Triton

CONFIG = CanaryConfig(
    steps=[0.5, 1.0],
    min_requests=50,
    max_step_seconds=10.0,
    undecided="go_on",
    false_rollback_rate=0.01,
    miss_rate=0.05,
    max_asker_share=0.2,
    limits=LimitsConfig(
        failures=Limit(tolerate=0.005, find=0.1),
        latency=Limit(tolerate=1.5, find=4.0),
        refusals=Limit(tolerate=0.05, find=0.3),
        groundedness=Limit(tolerate=0.02, find=0.3),
        thumbs=Limit(tolerate=0.05, find=0.3),
    ),
)
START = 1_000_000.0  # seconds since 1970
ROUTES = [("r-old", 0.5), ("r-new", 0.5)]
GOOD: dict[str, Any] = {
    "tenant": "default",
    "status": "ok",
    "total_ms": 100.0,
    "groundedness": 0.8,
    "refused": False,
}
Change = Callable[[int], dict[str, Any]]  # of the new release's request with that number


def rows(count: int, change: Change = lambda number: {}) -> list[dict[str, Any]]:
    """Requests, each routed by its id; what the new release does is changed."""
    requests: list[dict[str, Any]] = []
    for number in range(count):
        request_id = f"q-{number}"
        release_id = routing.pick(ROUTES, request_id)
        moment = datetime.datetime.fromtimestamp(START + 10 + number / 10, datetime.UTC)
        row = {**GOOD, "request_id": request_id, "release_id": release_id, "time": moment}
        if release_id == "r-new":
            row |= change(number)
        requests.append(row)
    return requests


def compare(
    requests: list[dict[str, Any]],
    thumbs: dict[str, int] | None = None,
    declaration: Declaration = NOTHING,
) -> LiveComparison:
    comparison = LiveComparison(CONFIG, declaration, history=[])
    comparison.begin(Phase(START, ROUTES))
    comparison.add(requests, thumbs or {})
    return comparison


def failures(comparison: LiveComparison) -> list[str]:
    return [check.name for check in comparison.judge().report.failures()]


def message(comparison: LiveComparison) -> str:
    """What a person reads of a release that is worse."""
    with pytest.raises(Refusal) as caught:
        comparison.judge().report.demand("the release", "Nothing changes.")
    return str(caught.value)


def every(step: int, **changes: Any) -> Change:
    return lambda number: changes if number % step == 0 else {}


def test_an_equal_release_is_soon_known_to_be_harmless() -> None:
    judgement = compare(rows(400)).judge()
    assert judgement.report.passed
    assert judgement.gaps == []


@pytest.mark.parametrize(
    ("change", "name", "remedy"),
    [
        (every(5, status="failed", groundedness=None), "failed requests", "server.log"),
        (every(1, total_ms=400.0), "time to the answer", "--expect-latency-ratio 5"),
        (every(2, refused=True), "refusing answers", "--expect-refused-increase"),
        (every(1, groundedness=0.5), "lack of groundedness", "traffic log"),
    ],
)
def test_each_way_of_being_worse_is_found_alone_with_its_remedy(
    change: Change, name: str, remedy: str
) -> None:
    comparison = compare(rows(600, change))
    assert failures(comparison) == [name]
    assert remedy in message(comparison)


def test_thumbs_count_when_they_come_each_request_once() -> None:
    requests = rows(600)
    comparison = compare(requests)
    thumbs = {row["request_id"]: -1 if row["release_id"] == "r-new" else 1 for row in requests}
    comparison.add(requests, dict(list(thumbs.items())[:300]))
    comparison.add(requests, thumbs)
    comparison.add(requests, thumbs)
    assert failures(comparison) == ["thumbs down"]
    num_new = sum(row["release_id"] == "r-new" for row in requests)
    assert f"100.0% of {num_new} against 0.0% of {600 - num_new}" in message(comparison)


def test_a_release_that_fails_every_request_is_found_within_a_dozen() -> None:
    assert failures(compare(rows(24, every(1, status="failed")))) == ["failed requests"]


def test_few_requests_tell_nothing_and_say_so() -> None:
    judgement = compare(rows(20, every(4, refused=True))).judge()
    assert judgement.report.passed
    assert len(judgement.gaps) == 4
    assert "refusing answers: 30% more is not ruled out" in judgement.gaps[2]
    assert "(canary.limits.refusals.find)" in judgement.gaps[2]


def test_looking_often_or_once_gives_the_same_evidence() -> None:
    requests = rows(300, every(3, refused=True))
    often = compare(requests[:1])
    for count in range(2, 301):
        often.add(requests[:count], {})
    assert often.judge() == compare(requests).judge()


def test_requests_that_neither_release_worked_on_or_that_came_before_count_nothing() -> None:
    rejected = compare(rows(100, every(1, status="rejected")))
    assert rejected.num_new == 0
    early = rows(100)
    for row in early:
        row["time"] = datetime.datetime.fromtimestamp(START + 0.5, datetime.UTC)
    assert compare(early).num_new == 0


def test_a_request_that_its_id_would_have_sent_elsewhere_counts_nothing() -> None:
    """It was routed before the shares changed, so the chance of its way is not known."""
    requests = rows(100)
    for row in requests:
        row["release_id"] = "r-old" if row["release_id"] == "r-new" else "r-new"
    assert compare(requests).num_new == 0


def test_answers_to_one_asker_weigh_less_but_failures_do_not() -> None:
    requests = rows(60, every(2, refused=True))
    by_many = [{**row, "tenant": f"t-{number % 40}"} for number, row in enumerate(requests)]
    assert failures(compare(by_many)) == ["refusing answers"]
    assert failures(compare([{**row, "tenant": "ada"} for row in requests])) == []
    failing = [{**row, "tenant": "ada"} for row in rows(24, every(1, status="failed"))]
    assert failures(compare(failing)) == ["failed requests"]


def test_a_slower_release_is_told_both_times_the_ratio_its_limit_and_how_to_declare_it() -> None:
    slow = every(1, total_ms=3680.0)
    assert (
        "typically 3680 ms against 100 ms, 36.8 times; evidence that it is worse: more than a "
        "million to 1, expected at most 1.5 times (canary.limits.latency.tolerate), or evidence "
        "below 600 to 1"
    ) in message(compare(rows(200, slow)))
    assert "--expect-latency-ratio 41 --who NAME" in message(compare(rows(200, slow)))


def test_declared_changes_take_the_place_of_the_limits_and_are_limits_themselves() -> None:
    slow = rows(300, every(1, total_ms=3900.0))
    slower = rows(300, every(1, total_ms=8000.0))
    assert compare(slow, declaration=Declaration(latency_ratio=40.0)).judge().report.passed
    declared_slower = compare(slower, declaration=Declaration(latency_ratio=40.0))
    assert failures(declared_slower) == ["time to the answer"]
    refusing = rows(300, every(2, refused=True))
    refusing_all = rows(300, every(1, refused=True, groundedness=None))
    declaration = Declaration(refused_increase=0.5)
    assert compare(refusing, declaration=declaration).judge().report.passed
    assert failures(compare(refusing_all, declaration=declaration)) == ["refusing answers"]


def test_failures_under_full_load_are_found_though_the_old_release_answers_nothing() -> None:
    comparison = compare(rows(200))
    comparison.begin(Phase(START + 100, [("r-old", 0.0), ("r-new", 1.0)]))
    late = rows(30)
    for number, row in enumerate(late):
        moment = datetime.datetime.fromtimestamp(START + 110 + number, datetime.UTC)
        row |= {"request_id": f"late-{number}", "release_id": "r-new", "time": moment}
    comparison.add(late[:20], {})
    assert failures(comparison) == []
    assert comparison.num_fresh == 20
    for row in late[20:]:
        row["status"] = "failed"
    comparison.add(late, {})
    assert failures(comparison) == ["failed requests while it answers everything"]


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
    assert "has unloaded it" in refusal(canary.switch(CONFIG, hand_over(clone)))

    def change_routes(_: Triton) -> list[str]:
        live_routes.write([("r-old", 1.0)])
        return ["r-old", "r-new"]

    monkeypatch.setattr(live_server, "loaded_releases", change_routes)
    text = refusal(canary.switch(CONFIG, hand_over(clone)))
    assert "they were changed meanwhile" in text
    assert "`python -m pipelines releases` says what is live" in text
