import datetime
from typing import Any

import pytest

from pipelines.config import params
from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.drift import Decision, Signal, Verdict
from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.monitoring.reactions import Circumstances, decide
from pipelines.monitoring.signals import KINDS

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


def config(**changes: Any) -> MonitorConfig:
    values: dict[str, Any] = {
        "persist_windows": 2,
        "cooldown_hours": 24.0,
        "max_starts_a_day": 1,
        "min_reviewed": 20,
        "hold": False,
    }
    return params.load().section(MonitorConfig).model_copy(update=values | changes)


def signal(name: str, direction: Any = "more") -> Signal:
    """A signal that drifted."""
    return Signal(
        name=name,
        group=KINDS[name].group,
        statistic=2.0,
        threshold=1.5,
        p_value=0.001,
        drifted=True,
        direction=direction,
        effect=0.5,
        window=1.0,
        baseline=0.0,
        examples=[],
        sentence="",
    )


def verdict(*signals: Signal, **changes: Any) -> Verdict:
    """A verdict on a window of r-1, in which these signals drifted."""
    values: dict[str, Any] = {
        "window": "w-2",
        "release_id": "r-1",
        "first": None,
        "last": None,
        "num_requests": 100,
        "num_tested": 100,
        "outcome": "drift" if signals else "no_drift",
        "baseline": "w-0",
        "baseline_kind": "live",
        "sentence": "Seen.",
        "checks": Report(passed=True, reason="", checks=[]),
        "signals": list(signals),
        "unmeasured": [],
        "drastic": False,
        "presets": [],
        "presets_say": None,
    }
    return Verdict(**values | changes)


def decision(**changes: Any) -> Decision:
    """The decision on an earlier window of r-1, in which `new_topic` drifted."""
    values: dict[str, Any] = {
        "decision_id": "d-1",
        "run_id": None,
        "when": (NOW - datetime.timedelta(hours=1)).isoformat(),
        "window": "w-1",
        "release_id": "r-1",
        "outcome": "drift",
        "signals": ["new_topic"],
        "confirmed": False,
        "wanted": "none",
        "reaction": "none",
        "blocked_by": [],
        "num_reviewed": 0,
        "num_waiting": 0,
        "judged_to": None,
        "accepted": False,
        "verdict_digest": "0",
        "report": "r.html",
        "reason": "Seen.",
    }
    return Decision(**values | changes)


def circumstances(**changes: Any) -> Circumstances:
    values: dict[str, Any] = {
        "now": NOW,
        "num_running": 0,
        "num_reviewed": 50,
        "num_waiting": 0,
        "documents_changed": False,
    }
    return Circumstances(**values | changes)


NEW_TOPIC = verdict(signal("new_topic"))
DRASTIC_NEW_TOPIC = verdict(signal("new_topic"), drastic=True)


def test_lasting_drift_with_reviewed_questions_starts_training() -> None:
    reaction = decide(config(), NEW_TOPIC, [decision()], circumstances())
    assert (reaction.proposal, reaction.reaction) == ("train", "train")
    assert (reaction.is_confirmed, reaction.blocks) == (True, [])
    assert "50 reviewed questions" in reaction.sentence


@pytest.mark.parametrize(
    ("earlier", "why"),
    [
        ([], "the first window"),
        ([decision(signals=["latency"])], "another signal before"),
        ([decision(outcome="no_drift", signals=[])], "none before"),
        ([decision(), decision(outcome="no_drift", signals=[])], "interrupted"),
        ([decision(release_id="r-0")], "another release"),
    ],
)
def test_drift_that_has_not_lasted_starts_nothing(earlier: list[Decision], why: str) -> None:
    reaction = decide(config(), NEW_TOPIC, earlier, circumstances())
    assert (reaction.reaction, reaction.is_confirmed) == ("none", False), why
    assert "2 windows in a row" in reaction.sentence


def test_a_window_that_could_not_be_judged_does_not_break_the_row() -> None:
    unknown = decision(outcome="cannot_tell", signals=[], reaction="cannot_tell")
    reaction = decide(config(), NEW_TOPIC, [decision(), unknown], circumstances())
    assert reaction.reaction == "train"


def test_drastic_drift_does_not_wait_for_a_second_window() -> None:
    assert decide(config(), DRASTIC_NEW_TOPIC, [], circumstances()).reaction == "train"


def test_what_cannot_be_told_starts_nothing_and_is_not_an_all_clear() -> None:
    sentence = "Cannot tell: 3 of 100."
    unknown = verdict(outcome="cannot_tell", sentence=sentence)
    reaction = decide(config(), unknown, [decision()], circumstances())
    assert (reaction.proposal, reaction.reaction) == ("cannot_tell", "cannot_tell")
    assert reaction.sentence == sentence


@pytest.mark.parametrize("name", ["number of requests", "any other words"])
def test_only_a_broken_window_calls_somebody_one_that_lacks_requests_waits(name: str) -> None:
    lacking = Check(
        name=name, passed=False, observed="3", expected="100", code=CheckCode.NUM_REQUESTS
    )
    broken = Check(name="ids occur once", passed=False, observed="9 rows", expected="none")
    waiting = verdict(outcome="cannot_tell", checks=Report.of([lacking]))
    torn = verdict(outcome="cannot_tell", checks=Report.of([lacking, broken]))
    assert decide(config(), waiting, [decision()], circumstances()).reaction == "none"
    assert decide(config(), torn, [decision()], circumstances()).reaction == "cannot_tell"


def test_no_drift_starts_nothing() -> None:
    assert decide(config(), verdict(), [decision()], circumstances()).reaction == "none"


ALL_BLOCKS = ["hold", "cooldown", "daily_budget", "already_running"]


@pytest.mark.parametrize(
    ("settings", "earlier", "num_running", "blocks"),
    [
        ({"hold": True}, [], 0, ["hold"]),
        ({"max_starts_a_day": 9}, [decision(reaction="train")], 0, ["cooldown"]),
        ({"cooldown_hours": 0.5}, [decision(reaction="train")], 0, ["daily_budget"]),
        ({"max_starts_a_day": 0}, [], 0, ["daily_budget"]),
        ({}, [], 1, ["already_running"]),
        ({}, [], None, ["running_unknown"]),
        ({"hold": True}, [decision(reaction="train")], 2, ALL_BLOCKS),
    ],
)
def test_everything_that_blocks_a_start_is_named(
    settings: dict[str, Any],
    earlier: list[Decision],
    num_running: int | None,
    blocks: list[str],
) -> None:
    running = circumstances(num_running=num_running)
    reaction = decide(config(**settings), DRASTIC_NEW_TOPIC, earlier, running)
    assert (reaction.proposal, reaction.reaction) == ("train", "none")
    assert list(reaction.blocks) == blocks
    assert f"Not started: {', '.join(blocks).replace('_', ' ')}." in reaction.sentence


def test_a_refresh_does_not_block_a_training() -> None:
    earlier = [decision(reaction="refresh")]
    assert decide(config(), DRASTIC_NEW_TOPIC, earlier, circumstances()).reaction == "train"


def test_a_blocked_start_does_not_count_as_a_start() -> None:
    earlier = [decision(wanted="train", reaction="none", blocked_by=["already_running"])]
    assert decide(config(), DRASTIC_NEW_TOPIC, earlier, circumstances()).reaction == "train"


@pytest.mark.parametrize("name", ["empty_results", "failures", "latency", "cost"])
def test_a_fault_of_the_service_calls_a_human_and_never_trains(name: str) -> None:
    outage = verdict(signal("new_topic"), signal(name), drastic=True)
    reaction = decide(config(), outage, [], circumstances())
    assert (reaction.reaction, reaction.blocks) == ("human", [])


def test_too_little_to_learn_from_calls_a_human_who_is_told_what_waits() -> None:
    reviews = circumstances(num_reviewed=19, num_waiting=31)
    reaction = decide(config(), DRASTIC_NEW_TOPIC, [], reviews)
    assert reaction.reaction == "human"
    assert "19 reviewed questions of 20 needed; 31 feedbacks wait" in reaction.sentence


@pytest.mark.parametrize(
    ("documents_changed", "answer"), [(True, "refresh"), (False, "human"), (None, "human")]
)
def test_changed_documents_are_indexed_if_questions_lack_them(
    documents_changed: bool | None, answer: str
) -> None:
    worse_passages = verdict(signal("best_score", "less"), drastic=True)
    documents = circumstances(num_reviewed=0, documents_changed=documents_changed)
    assert decide(config(), worse_passages, [], documents).reaction == answer


def test_a_release_without_accepted_live_traffic_calls_a_human_with_the_command() -> None:
    first = verdict(signal("new_topic"), baseline_kind="golden", drastic=True)
    reaction = decide(config(), first, [], circumstances())
    assert reaction.reaction == "human"
    assert "python -m pipelines accept w-2" in reaction.sentence
