"""Comparing two releases on the rows of a traffic log."""

import datetime
from typing import Any

import pytest

from pipelines.errors import Refusal
from pipelines.serving.declarations import NOTHING
from pipelines.serving.live_comparison import LiveComparison, Phase
from pipelines.serving.release_comparison import Declaration
from tests.serving.routed_rows import CONFIG, ROUTES, START, Change, every, rows


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


def test_a_request_that_its_position_would_have_sent_elsewhere_counts_nothing() -> None:
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


def test_only_the_first_request_of_an_asker_in_a_step_is_compared() -> None:
    """The release of the others is known before they come, so they are no fair bet."""
    first = rows(40, every(2, refused=True))
    again = []
    for repetition in range(1, 30):
        for row in first:
            again.append({**row, "request_id": f"{row['request_id']}-{repetition}"})
    once = compare(first)
    often = compare([*first, *again])
    assert often.num_new == once.num_new
    assert message_of_odds(often) == message_of_odds(once)
    assert often.num_fresh == 30 * once.num_fresh


def message_of_odds(comparison: LiveComparison) -> list[str]:
    return [check.observed for check in comparison.judge().report.checks]


def test_an_asker_of_the_old_release_is_compared_again_when_the_share_grows() -> None:
    """With the chance that is left: from 5 % to 50 %, 45 of the 95 that had the old release."""
    comparison = LiveComparison(CONFIG, NOTHING, history=[])
    comparison.begin(Phase(START, [("r-old", 0.95), ("r-new", 0.05)]))
    moment = datetime.datetime.fromtimestamp(START + 10, datetime.UTC)
    old = {**rows(1)[0], "position": 0.6, "release_id": "r-old", "time": moment}
    new = {**old, "request_id": "q-new", "position": 0.97, "release_id": "r-new"}
    comparison.add([old, new], {})
    comparison.begin(Phase(START + 100, ROUTES))
    later = moment + datetime.timedelta(seconds=100)
    moved = {**old, "request_id": "q-later", "release_id": "r-new", "time": later}
    stayed = {**new, "request_id": "q-stayed", "time": later}
    comparison.add([moved, stayed], {})
    assert comparison.num_new == 2  # q-new and q-later; q-stayed was not drawn again
