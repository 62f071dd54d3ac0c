"""Comparing two releases on live traffic, and what follows for a step of a switch."""

import datetime
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.config.canary import CanaryConfig
from pipelines.contracts.report import Report
from pipelines.contracts.traffic import REQUESTS
from pipelines.errors import Refusal, UserError
from pipelines.serving import canary, live_routes, live_server, releasing
from pipelines.serving.canary import Handover, Verdict, verdict_of
from pipelines.serving.release_comparison import ReleaseTraffic, judge
from pipelines.serving.triton_connection import Triton

CONFIG = CanaryConfig(
    steps=[0.1, 1.0],
    min_requests=50,
    min_measured=20,
    max_step_seconds=10.0,
    max_error_rate_increase=0.02,
    max_latency_ratio=1.5,
    max_groundedness_drop=0.1,
    max_refused_increase=0.1,
    max_thumbs_drop=0.1,
    min_thumbs=20,
)
GOOD: dict[str, Any] = {
    "status": "ok",
    "total_ms": 100.0,
    "groundedness": 0.8,
    "refused": False,
    "thumb": None,
}
LATENCY = "95th percentile of the time to the answer"
ENOUGH_MEASURED = "enough answers of measured groundedness"


def traffic(count: int, thumbs: list[int] | None = None, **changes: Any) -> ReleaseTraffic:
    """`count` good rows; each change is a pair: in how many rows, and the value there."""
    rows = [dict(GOOD) for _ in range(count)]
    for name, (number, value) in changes.items():
        for row in rows[:number]:
            row[name] = value
    for row, thumb in zip(rows, thumbs or [], strict=False):
        row["thumb"] = thumb
    return ReleaseTraffic(rows)


def failures(new: ReleaseTraffic, old: ReleaseTraffic) -> list[str]:
    return [check.name for check in judge(CONFIG, new, old).failures()]


def refusal(report: Report) -> str:
    """What a person reads of a report that did not pass."""
    with pytest.raises(Refusal) as caught:
        report.demand("the release", "Nothing changes.")
    return str(caught.value)


def test_an_equal_release_passes() -> None:
    assert failures(traffic(100), traffic(1000)) == []


@pytest.mark.parametrize(
    ("new", "name"),
    [
        (traffic(100, status=(20, "failed")), "failed requests"),
        (traffic(100, total_ms=(10, 500.0)), LATENCY),
        (traffic(100, refused=(40, True)), "refusing answers"),
        (traffic(100, groundedness=(60, 0.2)), "lack of groundedness"),
        (traffic(100, [1] * 10 + [-1] * 15), "thumbs down"),
    ],
)
def test_each_way_of_being_worse_fails_alone(new: ReleaseTraffic, name: str) -> None:
    assert failures(new, traffic(1000, [1] * 90 + [-1] * 10)) == [name]


def test_too_few_requests_are_never_a_pass() -> None:
    assert failures(traffic(49), traffic(1000)) == ["enough requests"]
    assert failures(traffic(100), traffic(10)) == ["enough requests", ENOUGH_MEASURED]
    assert "enough requests" in failures(ReleaseTraffic([]), ReleaseTraffic([]))


def test_groundedness_that_was_hardly_measured_is_never_a_pass() -> None:
    assert failures(traffic(100, groundedness=(90, None)), traffic(1000)) == [ENOUGH_MEASURED]


def test_groundedness_is_not_compared_before_enough_of_it_was_measured() -> None:
    """Three answers that are all ungrounded do not vary, so the difference seemed beyond chance."""
    old = traffic(1000, groundedness=(547, 0.0))
    few = traffic(100, groundedness=(97, None))
    enough = traffic(100, groundedness=(80, None))
    for new in (few, enough):
        for row in new.answers():
            row["groundedness"] = row["groundedness"] and 0.0
    assert failures(few, old) == [ENOUGH_MEASURED]
    assert failures(enough, old) == ["lack of groundedness"]


def test_a_difference_within_chance_is_no_reason_to_go_back() -> None:
    new = traffic(80, groundedness=(45, 0.0))
    old = traffic(80, groundedness=(36, 0.0))
    assert failures(new, old) == []


def test_rejected_and_cancelled_requests_say_nothing_about_a_release() -> None:
    assert failures(traffic(200, status=(100, "rejected")), traffic(1000)) == []
    assert failures(traffic(100, status=(60, "cancelled")), traffic(1000)) == ["enough requests"]


def test_a_release_that_answered_nothing_has_no_latency_to_pass_with() -> None:
    assert LATENCY in failures(traffic(100, status=(100, "failed")), traffic(1000))


def test_a_single_measurement_that_is_worse_is_a_failure() -> None:
    """Its variance is unknown, so only the margin counts."""
    assert "failed requests" in failures(traffic(1, status=(1, "failed")), traffic(1000))


@pytest.mark.parametrize(
    ("new", "key", "remedy"),
    [
        (traffic(100, status=(20, "failed")), "canary.max_error_rate_increase", "server.log"),
        (traffic(100, total_ms=(10, 500.0)), "canary.max_latency_ratio", "--expect-latency-ratio"),
        (traffic(100, refused=(40, True)), "canary.max_refused_increase", "golden set"),
        (traffic(100, groundedness=(60, 0.2)), "canary.max_groundedness_drop", "traffic log"),
        (traffic(100, [1] * 10 + [-1] * 15), "canary.max_thumbs_drop", "pipelines review"),
        (traffic(49), "canary.min_requests", "pipelines simulate"),
        (traffic(100, groundedness=(90, None)), "canary.min_measured", "quieter time"),
        (traffic(100, status=(100, "failed")), "canary.max_latency_ratio", "repair them first"),
    ],
)
def test_a_refusal_names_the_key_that_governs_it_and_what_to_do(
    new: ReleaseTraffic, key: str, remedy: str
) -> None:
    message = refusal(judge(CONFIG, new, traffic(1000, [1] * 90 + [-1] * 10)))
    assert f"({key}" in message
    assert remedy in message


def test_a_slower_release_is_told_both_times_the_ratio_its_limit_and_how_to_declare_it() -> None:
    new = traffic(100, total_ms=(100, 2100.0))
    old = traffic(100, total_ms=(100, 57.0))
    assert refusal(judge(CONFIG, new, old)).splitlines()[1:] == [
        f"  - {LATENCY}: 2100 ms against 57 ms, 36.8 times, expected at most 1.5 times the old "
        "release's (canary.max_latency_ratio)",
        "    If the new model is meant to be slower, declare it for this release alone: `python -m "
        "pipelines release --expect-latency-ratio 41 --who NAME --why TEXT`. If not, look at what "
        "else this machine was doing, or lower export.max_new_tokens",
    ]


def test_a_declared_slowdown_takes_the_place_of_the_limit_and_is_a_limit_itself() -> None:
    old = traffic(100, total_ms=(100, 57.0))
    slow = traffic(100, total_ms=(100, 2100.0))
    slower = traffic(100, total_ms=(100, 2400.0))
    assert judge(CONFIG, slow, old, 41.0).passed
    message = refusal(judge(CONFIG, slower, old, 41.0))
    assert "42.1 times, expected at most 41 times" in message
    assert "(declared by --expect-latency-ratio)" in message


@pytest.mark.parametrize("ratio", [1.5, 0.4, 0.0, -2.0, float("nan"), float("inf")])
def test_a_declaration_that_allows_no_more_than_the_limit_is_a_mistake(ratio: float) -> None:
    with pytest.raises(UserError, match=r"above canary.max_latency_ratio \(1.5 in params.yaml\)"):
        releasing.check_declaration(CONFIG, ratio)
    releasing.check_declaration(CONFIG, 1.6)
    releasing.check_declaration(CONFIG, None)


def test_a_difference_that_chance_allows_beyond_the_margin_says_so() -> None:
    report = judge(CONFIG, traffic(80, groundedness=(60, 0.0)), traffic(80, groundedness=(36, 0.0)))
    limit = report.failures()[0].expected
    assert "canary.max_groundedness_drop is 10.0%, but so much may be chance" in limit


def reworded(report: Report) -> Report:
    """The report with every text that people read replaced."""
    checks = []
    for number, check in enumerate(report.checks):
        texts = {"name": f"rule {number}", "observed": "something", "expected": "something else"}
        checks.append(check.model_copy(update=texts))
    return report.model_copy(update={"checks": checks, "reason": "for a reason"})


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        (traffic(100), Verdict.GOOD),
        (traffic(49), Verdict.UNCLEAR),
        (traffic(100, groundedness=(90, None)), Verdict.UNCLEAR),
        (traffic(100, refused=(40, True)), Verdict.WORSE),
        (traffic(49, status=(20, "failed")), Verdict.WORSE),
    ],
)
def test_the_verdict_does_not_depend_on_what_the_checks_are_called(
    new: ReleaseTraffic, verdict: Verdict
) -> None:
    report = judge(CONFIG, new, traffic(1000))
    assert verdict_of(report) is verdict
    assert verdict_of(reworded(report)) is verdict


def log_requests(release_id: str, count: int, minutes_ago: float, **changes: Any) -> None:
    """Write requests of a release into the clone's traffic log."""
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=minutes_ago)
    row: dict[str, Any] = {
        "release_id": release_id,
        "time": moment,
        "tenant": "default",
        "question": "?",
        "retrieved": [],
        "answer": "!",
        "refused": False,
        "status": "ok",
        "error": None,
        "guard_flags": [],
        "groundedness": 0.8,
        "num_prompt_tokens": 1,
        "num_new_tokens": 1,
        "cost": 0.0,
        "guard_ms": 1.0,
        "embed_ms": 1.0,
        "search_ms": 1.0,
        "generate_ms": 1.0,
        "total_ms": 100.0,
    }
    rows = [
        {**row, **changes, "request_id": f"{release_id}-{minutes_ago}-{number}"}
        for number in range(count)
    ]
    path = Path("data/traffic/requests") / f"{release_id}-{time.monotonic_ns()}.parquet"
    files.write(path, REQUESTS, rows)


def hand_over(clone: Path, expected_latency_ratio: float | None = None) -> Handover:
    """From r-old to r-new, on a server that nobody reaches."""
    unreachable = Triton(0, 0, 0, clone / "server.log", None)
    traffic_folder = clone / "data/traffic"
    return Handover("r-new", "r-old", unreachable, traffic_folder, expected_latency_ratio)


@pytest.mark.parametrize("are_texts_changed", [False, True])
@pytest.mark.parametrize(
    ("changes", "passes", "release"),
    [({}, True, "r-new"), ({"status": "failed", "answer": None}, False, "r-old")],
)
def test_a_switch_ends_the_same_whatever_the_checks_are_called(
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    passes: bool,
    release: str,
    are_texts_changed: bool,
) -> None:
    monkeypatch.setattr(canary, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(live_server, "loaded_releases", lambda _: ["r-new", "r-old"])
    if are_texts_changed:
        monkeypatch.setattr(canary, "judge", lambda *inputs: reworded(judge(*inputs)))
    log_requests("r-old", 100, minutes_ago=5)
    # From the future, so that they come after the beginning of every step.
    log_requests("r-new", 100, minutes_ago=-5, **changes)
    report = canary.switch(CONFIG, hand_over(clone))
    assert report.passed is passes
    answers_everything = [share for share in live_routes.read().shares if share[1] == 1.0]
    assert answers_everything == [(release, 1.0)]


@pytest.mark.parametrize(("declaration", "release"), [(None, "r-old"), (50.0, "r-new")])
def test_a_slow_release_takes_over_only_if_its_slowness_was_declared(
    clone: Path, monkeypatch: pytest.MonkeyPatch, declaration: float | None, release: str
) -> None:
    monkeypatch.setattr(canary, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(live_server, "loaded_releases", lambda _: ["r-new", "r-old"])
    log_requests("r-old", 100, minutes_ago=5)
    log_requests("r-new", 100, minutes_ago=-5, total_ms=4000.0)
    report = canary.switch(CONFIG, hand_over(clone, declaration))
    assert report.passed is (release == "r-new")
    assert (release, 1.0) in live_routes.read().shares


def test_a_step_that_nobody_asks_anything_in_says_which_keys_decide_how_long_it_waits(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(live_server, "loaded_releases", lambda _: ["r-new", "r-old"])
    impatient = CONFIG.model_copy(update={"max_step_seconds": 0.05})
    message = refusal(canary.switch(impatient, hand_over(clone)))
    assert "undecided after 0.05 s (canary.max_step_seconds), with 0 requests" in message
    assert "raise canary.max_step_seconds, or lower canary.min_requests" in message


def test_a_server_that_is_gone_and_routes_that_others_changed_end_a_switch_with_a_remedy(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "LOOK_SECONDS", 0.01)
    message = refusal(canary.switch(CONFIG, hand_over(clone)))
    assert "the live server answers: it does not answer" in message
    assert "`make serve` starts it again" in message

    monkeypatch.setattr(live_server, "loaded_releases", lambda _: ["r-old"])
    assert "has unloaded it" in refusal(canary.switch(CONFIG, hand_over(clone)))

    def change_routes(_: Triton) -> list[str]:
        live_routes.write([("r-old", 1.0)])
        return ["r-old", "r-new"]

    monkeypatch.setattr(live_server, "loaded_releases", change_routes)
    message = refusal(canary.switch(CONFIG, hand_over(clone)))
    assert "they were changed meanwhile" in message
    assert "`python -m pipelines releases` says what is live" in message
