from typing import Any

import pytest

from pipelines.config.serve import CanaryConfig
from pipelines.serving.canary import Seen, judge

CONFIG = CanaryConfig(
    steps=[0.1, 1.0], min_requests=50, min_measured=20, max_step_seconds=10.0, max_error_rate_increase=0.02, max_latency_ratio=1.5, max_groundedness_drop=0.1, max_refused_increase=0.1, max_thumbs_drop=0.1,
    min_thumbs=20,
)  # fmt: skip
GOOD: dict[str, Any] = {"status": "ok", "total_ms": 100.0, "groundedness": 0.8, "refused": False}


def seen(count: int, thumbs: list[int] | None = None, **other: Any) -> Seen:
    """`count` good rows; each of `other` is a pair: how many rows, and their value."""
    rows = [dict(GOOD) for _ in range(count)]
    for name, (number, value) in other.items():
        for row in rows[:number]:
            row[name] = value
    return Seen(rows, thumbs or [])


def failed(new: Seen, old: Seen) -> list[str]:
    return [check.name for check in judge(CONFIG, new, old).checks if not check.passed]


def test_an_equal_release_passes() -> None:
    assert failed(seen(100), seen(1000)) == []


@pytest.mark.parametrize(
    ("new", "name"),
    [
        (seen(100, status=(20, "failed")), "failed requests"),
        (seen(100, total_ms=(10, 500.0)), "95th percentile of the time to the answer"),
        (seen(100, refused=(40, True)), "refusing answers"),
        (seen(100, groundedness=(60, 0.2)), "lack of groundedness"),
        (seen(100, [1] * 10 + [-1] * 15), "thumbs down"),
    ],
)
def test_each_way_of_being_worse_fails_alone(new: Seen, name: str) -> None:
    assert failed(new, seen(1000, [1] * 90 + [-1] * 10)) == [name]


def test_too_few_requests_are_never_a_pass() -> None:
    assert failed(seen(49), seen(1000)) == ["enough requests"]
    assert failed(seen(100), seen(10)) == ["enough requests", "enough answers of measured groundedness"]
    assert "enough requests" in failed(Seen([]), Seen([]))


def test_groundedness_that_was_hardly_measured_is_never_a_pass() -> None:
    assert failed(seen(100, groundedness=(90, None)), seen(1000)) == ["enough answers of measured groundedness"]


def test_groundedness_is_not_compared_before_enough_of_it_was_measured() -> None:
    """Of three answers all ungrounded: they do not vary, and the difference seemed beyond chance."""
    old, few, enough = seen(1000, groundedness=(547, 0.0)), seen(100, groundedness=(97, None)), seen(100, groundedness=(80, None))
    for new in (few, enough):
        for row in new.answered():
            row["groundedness"] = row["groundedness"] and 0.0
    assert failed(few, old) == ["enough answers of measured groundedness"]
    assert failed(enough, old) == ["lack of groundedness"]


def test_a_difference_within_chance_is_no_reason_to_go_back() -> None:
    new, old = [seen(40 + 40, groundedness=(place, 0.0)) for place in (45, 36)]
    assert failed(new, old) == []


def test_rejected_and_cancelled_requests_say_nothing_about_a_release() -> None:
    assert failed(seen(200, status=(100, "rejected")), seen(1000)) == []
    assert failed(seen(100, status=(60, "cancelled")), seen(1000)) == ["enough requests"]


def test_a_release_that_answered_nothing_has_no_latency_to_pass_with() -> None:
    assert "95th percentile of the time to the answer" in failed(seen(100, status=(100, "failed")), seen(1000))
