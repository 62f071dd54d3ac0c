import re
from typing import Any

from pipelines.contracts.drift import Decision, Preset, Signal, Verdict
from pipelines.contracts.report import Check, Report
from pipelines.monitoring.window_page import render_trend, render_window

HOSTILE = "<script>alert(1)</script>"


def verdict(number: int, level: float) -> Verdict:
    """The verdict on a window whose signal new_topic is at this many times its threshold."""
    is_drift = level > 1
    signal = Signal(
        name="new_topic",
        group="input",
        statistic=1.5 * level,
        threshold=1.5,
        p_value=0.001,
        drifted=is_drift,
        direction="other",
        effect=9.0,
        window=None,
        baseline=None,
        examples=[HOSTILE, "Where?"],
        sentence="s",
    )
    check = Check(name="number of requests", passed=True, observed="214", expected="100")
    return Verdict(
        window=f"w-{number}",
        release_id="r-1",
        first="2026-11-21T10:00:00+00:00",
        last="2026-11-21T11:00:00+00:00",
        num_requests=214,
        num_tested=200,
        outcome="drift" if is_drift else "no_drift",
        baseline="w-0",
        baseline_kind="live",
        sentence=f"Seen {HOSTILE}",
        checks=Report.of([check]),
        signals=[signal],
        unmeasured=["guard_flags"],
        drastic=False,
        presets=[Preset(column="question", method="text", score=0.61, drifted=True)],
        presets_say=False,
    )


def decision(number: int, **changes: Any) -> Decision:
    facts: dict[str, Any] = {
        "decision_id": f"d-{number}",
        "run_id": None,
        "when": f"2026-11-21T1{number}:00:00+00:00",
        "window": f"w-{number}",
        "release_id": "r-1",
        "outcome": "drift",
        "signals": [],
        "confirmed": True,
        "wanted": "train",
        "reaction": "train",
        "blocked_by": [],
        "num_reviewed": 0,
        "num_waiting": 0,
        "judged_to": None,
        "accepted": False,
        "verdict_digest": "0",
        "report": "r",
        "reason": f"Because {HOSTILE}",
    }
    return Decision(**facts | changes)


def test_a_windows_page_shows_every_number_and_what_users_wrote_as_text() -> None:
    page = render_window(verdict(1, 3.0))
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    numbers = re.findall(r'<td class="number">([\d.]+)</td>', page)
    assert numbers[:3] == ["4.50", "1.50", "0.0010"]
    assert "Not measured (no values, or all alike): guard_flags." in page
    assert "Overall: no drift. It decides nothing here." in page


def test_the_trend_draws_each_window_at_its_level_and_marks_starts_and_gaps() -> None:
    decisions = [
        decision(1, reaction="none", outcome="no_drift"),
        decision(2),
        decision(3, outcome="cannot_tell", reaction="cannot_tell"),
    ]
    page = render_trend(decisions, {"w-1": verdict(1, 0.5), "w-2": verdict(2, 3.0)})
    overall = page.split("<figure>")[1]
    assert overall.count("<circle") == 2
    points = re.findall(r'fill="(#\w+)"><title>(w-\d): ([\d.]+)', overall)
    assert points == [("#1a7f37", "w-1", "0.50"), ("#c6281c", "w-2", "3.00")]
    assert overall.count('stroke="#0969da"') == 1
    assert overall.count(">?</text>") == 1
    assert "<script" not in page


def test_a_line_is_drawn_through_the_windows_before_and_after_a_gap_but_not_across_it() -> None:
    decisions = [decision(number) for number in range(1, 6)]
    verdicts = {f"w-{number}": verdict(number, 0.5) for number in (1, 2, 4, 5)}
    overall = render_trend(decisions, verdicts).split("<figure>")[1]
    lines = re.findall(r'<polyline points="([^"]+)"', overall)
    assert [len(line.split()) for line in lines] == [2, 2]


def test_the_newest_decision_is_first_with_what_blocked_it() -> None:
    blocked_decision = decision(2, reaction="none", blocked_by=["cooldown", "already_running"])
    page = render_trend([decision(1), blocked_decision], {})
    assert page.index("windows/w-2.html") < page.index("windows/w-1.html")
    assert "wanted train; cooldown, already running" in " ".join(page.split())


def test_a_trend_without_any_decision_is_a_page_without_plots() -> None:
    page = render_trend([], {})
    assert "<circle" not in page
    assert "<h2>Decisions</h2>" in page


def test_pages_can_be_read_without_a_network() -> None:
    window_page = render_window(verdict(1, 3.0))
    trend_page = render_trend([decision(1)], {"w-1": verdict(1, 3.0)})
    for page in (window_page, trend_page):
        assert page.startswith("<!doctype html>")
        assert re.findall(r"https?://|src=|@import|url\(", page) == []
