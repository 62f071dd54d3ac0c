import datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import params
from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.drift import ENOUGH, Acceptance, Decision, Signal, Verdict
from pipelines.contracts.report import Check, Report
from pipelines.errors import UserError
from pipelines.monitoring import decision as decisions
from pipelines.monitoring.decision import Circumstances, decide
from pipelines.monitoring.signals import GROUPS

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


def config(**changed: Any) -> MonitorConfig:
    return params.load().monitor.model_copy(update={"persist_windows": 2, "cooldown_hours": 24.0, "max_starts_a_day": 1, "min_reviewed": 20, "hold": False} | changed)


def signal(name: str, direction: Any = "more") -> Signal:
    numbers = {"statistic": 2.0, "threshold": 1.5, "p_value": 0.001, "effect": 0.5, "window": 1.0, "baseline": 0.0}
    return Signal(name=name, group=GROUPS[name], drifted=True, direction=direction, examples=[], sentence="", **numbers)


def verdict(*signals: Signal, **changed: Any) -> Verdict:
    facts: dict[str, Any] = {
        "window": "w-2", "release_id": "r-1", "first": None, "last": None, "num_requests": 100, "num_tested": 100, "outcome": "drift" if signals else "no_drift", "baseline": "w-0", "baseline_kind": "live",
        "sentence": "Seen.", "checks": Report(passed=True, reason="", checks=[]), "signals": list(signals), "unmeasured": [], "drastic": False, "presets": [], "presets_say": None,
    }  # fmt: skip
    return Verdict(**facts | changed)


def decision(**changed: Any) -> Decision:
    facts: dict[str, Any] = {
        "decision_id": "d-1", "run_id": None, "when": (NOW - datetime.timedelta(hours=1)).isoformat(), "window": "w-1", "release_id": "r-1", "outcome": "drift", "signals": ["new_topic"], "confirmed": False,
        "wanted": "none", "reaction": "none", "blocked_by": [], "num_reviewed": 0, "num_waiting": 0, "judged_to": None, "accepted": False, "verdict_digest": "0", "report": "r.html", "reason": "Seen.",
    }  # fmt: skip
    return Decision(**facts | changed)


def told(**changed: Any) -> Circumstances:
    facts: dict[str, Any] = {"now": NOW, "num_running": 0, "num_reviewed": 50, "num_waiting": 0, "documents_changed": False}
    return Circumstances(**facts | changed)


def test_lasting_drift_with_reviewed_questions_starts_training() -> None:
    found = decide(config(), verdict(signal("new_topic")), [decision()], told())
    assert (found.wanted, found.reaction, found.confirmed, found.blocked_by) == ("train", "train", True, [])
    assert "50 reviewed questions" in found.sentence


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ([], "the first window"),
        ([decision(signals=["latency"])], "another signal before"),
        ([decision(outcome="no_drift", signals=[])], "none before"),
        ([decision(), decision(outcome="no_drift", signals=[])], "interrupted"),
        ([decision(release_id="r-0")], "another release"),
    ],
)
def test_drift_that_has_not_lasted_starts_nothing(before: list[Decision], why: str) -> None:
    found = decide(config(), verdict(signal("new_topic")), before, told())
    assert (found.reaction, found.confirmed) == ("none", False), why
    assert "2 windows in a row" in found.sentence


def test_a_window_that_could_not_be_judged_does_not_break_the_row() -> None:
    before = [decision(), decision(outcome="cannot_tell", signals=[], reaction="cannot_tell")]
    assert decide(config(), verdict(signal("new_topic")), before, told()).reaction == "train"


def test_drastic_drift_waits_for_no_second_window() -> None:
    assert decide(config(), verdict(signal("new_topic"), drastic=True), [], told()).reaction == "train"


def test_what_cannot_be_told_is_said_and_starts_nothing_and_is_no_all_clear() -> None:
    found = decide(config(), verdict(outcome="cannot_tell", sentence="Cannot tell: 3 of 100."), [decision()], told())
    assert (found.wanted, found.reaction, found.sentence) == ("cannot_tell", "cannot_tell", "Cannot tell: 3 of 100.")


def test_a_window_that_only_waits_for_more_requests_calls_nobody_and_a_broken_one_does() -> None:
    few = Check(name=ENOUGH, passed=False, observed="3", expected="at least 100")
    broken = Check(name="ids occur once", passed=False, observed="9 rows", expected="none")
    waiting = verdict(outcome="cannot_tell", sentence="Cannot tell: 3 of 100.", checks=Report.of([few]))
    torn = verdict(outcome="cannot_tell", sentence="Cannot tell.", checks=Report.of([few, broken]))
    assert [decide(config(), seen, [decision()], told()).reaction for seen in (waiting, torn)] == ["none", "cannot_tell"]


def test_no_drift_starts_nothing() -> None:
    assert decide(config(), verdict(), [decision()], told()).reaction == "none"


@pytest.mark.parametrize(
    ("changed", "before", "circumstances", "blocks"),
    [
        ({"hold": True}, [], {}, ["hold"]),
        ({"max_starts_a_day": 9}, [decision(reaction="train")], {}, ["cooldown"]),
        ({"cooldown_hours": 0.5}, [decision(reaction="train")], {}, ["daily_budget"]),
        ({"max_starts_a_day": 0}, [], {}, ["daily_budget"]),
        ({}, [], {"num_running": 1}, ["already_running"]),
        ({}, [], {"num_running": None}, ["running_unknown"]),
        ({"hold": True}, [decision(reaction="train")], {"num_running": 2}, ["hold", "cooldown", "daily_budget", "already_running"]),
    ],
)
def test_what_keeps_a_start_from_being_made_is_named_whole(changed: dict[str, Any], before: list[Decision], circumstances: dict[str, Any], blocks: list[str]) -> None:
    found = decide(config(**changed), verdict(signal("new_topic"), drastic=True), before, told(**circumstances))
    assert (found.wanted, found.reaction, list(found.blocked_by)) == ("train", "none", blocks)
    assert f"Not started: {', '.join(blocks).replace('_', ' ')}." in found.sentence


def test_a_refresh_does_not_stand_in_the_way_of_a_training() -> None:
    assert decide(config(), verdict(signal("new_topic"), drastic=True), [decision(reaction="refresh")], told()).reaction == "train"


def test_a_blocked_start_does_not_count_as_one() -> None:
    before = [decision(wanted="train", reaction="none", blocked_by=["already_running"])]
    assert decide(config(), verdict(signal("new_topic"), drastic=True), before, told()).reaction == "train"


@pytest.mark.parametrize("name", ["empty_results", "failures", "latency", "cost"])
def test_a_fault_of_the_service_calls_a_human_and_never_trains(name: str) -> None:
    found = decide(config(), verdict(signal("new_topic"), signal(name), drastic=True), [], told())
    assert (found.reaction, found.blocked_by) == ("human", [])


def test_too_little_to_learn_from_calls_a_human_who_is_told_what_waits() -> None:
    found = decide(config(), verdict(signal("new_topic"), drastic=True), [], told(num_reviewed=19, num_waiting=31))
    assert found.reaction == "human"
    assert "19 reviewed questions of 20 needed; 31 feedbacks wait" in found.sentence


@pytest.mark.parametrize(("changed", "reaction"), [(True, "refresh"), (False, "human"), (None, "human")])
def test_changed_documents_are_indexed_where_questions_lack_them(changed: bool | None, reaction: str) -> None:
    assert decide(config(), verdict(signal("best_score", "less"), drastic=True), [], told(num_reviewed=0, documents_changed=changed)).reaction == reaction


def test_a_release_without_accepted_live_traffic_calls_a_human_who_is_told_the_command() -> None:
    found = decide(config(), verdict(signal("new_topic"), baseline_kind="golden", drastic=True), [], told())
    assert found.reaction == "human"
    assert "python -m pipelines accept w-2" in found.sentence


def test_the_ledger_gives_back_what_was_written_and_an_edited_line_is_found(tmp_path: Path) -> None:
    ledger = tmp_path / "decisions.jsonl"
    assert decisions.read(ledger) == ([], [])
    acceptance = Acceptance(window="w-1", release_id="r-1", who="ada", why="known", when=NOW.isoformat())
    decisions.append(ledger, decision())
    decisions.append(ledger, acceptance)
    assert decisions.read(ledger) == ([decision()], [acceptance])
    ledger.write_text(ledger.read_text().replace('"reaction": "none"', '"reaction": "train"'))
    with pytest.raises(UserError, match=r"decisions.jsonl:1: was changed after it was written"):
        decisions.read(ledger)


def test_the_baseline_is_all_accepted_windows_and_begins_anew_where_a_person_says_so() -> None:
    made = [decision(window=f"w-{number}", accepted=number != 2, when=f"2026-11-0{number}T00:00:00+00:00") for number in (1, 2, 3, 5)]
    other = decision(window="w-9", accepted=True, release_id="r-2")
    word = Acceptance(window="w-2", release_id="r-1", who="ada", why="new normal", when="2026-11-04T00:00:00+00:00")
    assert decisions.baseline("r-1", [*made, other], []) == ["w-1", "w-3", "w-5"]
    assert decisions.baseline("r-1", [*made, other], [word]) == ["w-2", "w-5"]
    assert decisions.baseline("r-3", made, [word]) == []
