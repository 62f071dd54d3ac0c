import re
from typing import Any

from pipelines.contracts.drift import Decision, Preset, Signal, Verdict
from pipelines.contracts.report import Check, Report
from pipelines.monitoring import report

HOSTILE = "<script>alert(1)</script>"


def verdict(number: int, level: float, **changed: Any) -> Verdict:
    drifted = level > 1
    signal = Signal(
        name="new_topic", group="input", statistic=1.5 * level, threshold=1.5, p_value=0.001, drifted=drifted, direction="other", effect=9.0, window=None, baseline=None, examples=[HOSTILE, "Where?"], sentence="s"
    )  # fmt: skip
    facts: dict[str, Any] = {
        "window": f"w-{number}", "release_id": "r-1", "first": "2026-11-21T10:00:00+00:00", "last": "2026-11-21T11:00:00+00:00", "num_requests": 214, "num_tested": 200, "outcome": "drift" if drifted else "no_drift",
        "baseline": "w-0", "baseline_kind": "live", "sentence": f"Seen {HOSTILE}", "checks": Report.of([Check(name="number of requests", passed=True, observed="214", expected="100")]), "signals": [signal],
        "unmeasured": ["guard_flags"], "drastic": False, "presets": [Preset(column="question", method="text", score=0.61, drifted=True)], "presets_say": False,
    }  # fmt: skip
    return Verdict(**facts | changed)


def decision(number: int, **changed: Any) -> Decision:
    facts: dict[str, Any] = {
        "decision_id": f"d-{number}", "run_id": None, "when": f"2026-11-21T1{number}:00:00+00:00", "window": f"w-{number}", "release_id": "r-1", "outcome": "drift", "signals": [], "confirmed": True, "wanted": "train",
        "reaction": "train", "blocked_by": [], "num_reviewed": 0, "num_waiting": 0, "judged_to": None, "accepted": False, "verdict_digest": "0", "report": "r", "reason": f"Because {HOSTILE}",
    }  # fmt: skip
    return Decision(**facts | changed)


def test_a_windows_page_shows_every_number_and_what_users_wrote_as_text() -> None:
    page = report.window(verdict(1, 3.0))
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert '<td class="number">4.50</td>\n<td class="number">1.50</td><td class="number">0.0010</td>' in page
    assert "Not measured (no values, or all alike): guard_flags." in page
    assert "All together: no drift. It decides nothing here." in page


def test_the_trend_draws_each_window_at_its_level_and_marks_starts_and_gaps() -> None:
    made = [decision(1, reaction="none", outcome="no_drift"), decision(2), decision(3, outcome="cannot_tell", reaction="cannot_tell")]
    page = report.trend(made, {"w-1": verdict(1, 0.5), "w-2": verdict(2, 3.0)})
    overall = page.split("<figure>")[1]
    assert overall.count("<circle") == 2
    assert re.findall(r'fill="(#\w+)"><title>(w-\d): ([\d.]+)', overall) == [("#1a7f37", "w-1", "0.50"), ("#c6281c", "w-2", "3.00")]
    assert overall.count('stroke="#0969da"') == 1
    assert overall.count(">?</text>") == 1
    assert "<script" not in page


def test_the_newest_decision_stands_first_and_what_blocked_it_beside() -> None:
    page = report.trend([decision(1), decision(2, reaction="none", blocked_by=["cooldown", "already_running"])], {})
    assert page.index("windows/w-2.html") < page.index("windows/w-1.html")
    assert "wanted train; cooldown, already running" in page


def test_pages_can_be_read_without_a_network() -> None:
    for page in (report.window(verdict(1, 3.0)), report.trend([decision(1)], {"w-1": verdict(1, 3.0)})):
        assert page.startswith("<!doctype html>")
        assert re.findall(r"https?://|src=|@import|url\(", page) == []
