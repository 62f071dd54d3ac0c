"""Knows what follows from a window's verdict: nothing, new documents, retraining, or a human; and what keeps it from being started.

Everything is decided from the verdict, the decisions before it and what is told about reviews and running work, so that a decision can be
made again from its evidence. What is not known counts as against starting.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pipelines import hashchain
from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.drift import ENOUGH, Acceptance, Decision, Reaction, Signal, Verdict
from pipelines.errors import UserError

STARTS: tuple[Reaction, ...] = ("train", "refresh")
OUTAGE_SIGNALS = ("empty_results", "failures", "latency", "cost")
Block = Literal["hold", "cooldown", "daily_budget", "already_running", "running_unknown"]


@dataclass(frozen=True)
class Circumstances:
    """What is known beside the verdict. `num_running`: trainings and refreshes queued or running; None where nobody said."""

    now: datetime.datetime
    num_running: int | None
    num_reviewed: int  # reviewed questions that the live release has not learned from
    num_waiting: int  # feedbacks without a review
    documents_changed: bool | None  # whether data/raw holds other files than the live release was made of; None where that is not known


@dataclass(frozen=True)
class Reasoned:
    """A reaction with its reason and what blocks it."""

    wanted: Reaction
    reaction: Reaction
    confirmed: bool
    blocked_by: list[Block]
    sentence: str


def decide(config: MonitorConfig, verdict: Verdict, before: Sequence[Decision], told: Circumstances) -> Reasoned:
    """The reaction to a verdict. `before`: all decisions, oldest first."""
    if verdict.outcome == "cannot_tell":
        waits = [check.name for check in verdict.checks.checks if not check.passed] == [ENOUGH]  # nothing is broken: the next run may have enough
        return Reasoned("cannot_tell", "none" if waits else "cannot_tell", False, [], verdict.sentence)
    if verdict.outcome == "no_drift":
        return Reasoned("none", "none", False, [], verdict.sentence)
    if verdict.baseline_kind != "live":
        why = f"{verdict.sentence} This release has no accepted live traffic to compare with yet: look at the report, and `python -m pipelines accept {verdict.window} --who YOU` where such traffic is what you expect"
        return Reasoned("human", "human", True, [], why)
    if not _confirmed(config, verdict, before):
        return Reasoned("none", "none", False, [], f"{verdict.sentence} It starts nothing before it has lasted {config.persist_windows} windows in a row")
    wanted, why = _wanted(config, verdict, told)
    blocked = _blocks(config, wanted, before, told) if wanted in STARTS else []
    stopped = f" Not started: {', '.join(blocked).replace('_', ' ')}." if blocked else ""
    return Reasoned(wanted, "none" if blocked else wanted, True, blocked, f"{verdict.sentence} {why}{stopped}")


def _confirmed(config: MonitorConfig, verdict: Verdict, before: Sequence[Decision]) -> bool:
    """Drastic, or one signal that drifted in this window and in those before it. A window that could not be judged neither counts nor breaks the row."""
    if verdict.drastic:
        return True
    lasting = {signal.name for signal in verdict.signals if signal.drifted}
    judged = [decision for decision in before if decision.release_id == verdict.release_id and decision.outcome != "cannot_tell"]
    needed = config.persist_windows - 1
    for decision in reversed(judged[len(judged) - needed :] if needed else []):
        lasting &= set(decision.signals)
    return bool(lasting) and len(judged) >= needed


def _wanted(config: MonitorConfig, verdict: Verdict, told: Circumstances) -> tuple[Reaction, str]:
    drifted = [signal for signal in verdict.signals if signal.drifted]
    broken = [signal.name for signal in drifted if signal.name in OUTAGE_SIGNALS]
    if broken:
        return "human", f"{', '.join(broken)}: this looks like a fault of the service, which no training mends."
    if all(signal.group == "operations" for signal in drifted):
        return "human", "Only the running of the service changed, which no training mends."
    if told.num_reviewed >= config.min_reviewed:
        return "train", f"{told.num_reviewed} reviewed questions are there to learn from: retraining."
    if told.documents_changed and _lacks_documents(drifted):
        return "refresh", "Questions find worse passages and the documents have changed since the release: new index."
    waiting = f"{told.num_waiting} feedbacks wait for `python -m pipelines review`" if told.num_waiting else "no feedback waits for review"
    return "human", f"There is too little to learn from: {told.num_reviewed} reviewed questions of {config.min_reviewed} needed; {waiting}."


def _lacks_documents(drifted: Sequence[Signal]) -> bool:
    return any(signal.name in ("new_topic", "unfamiliar_questions", "out_of_scope") or (signal.name == "best_score" and signal.direction == "less") for signal in drifted)


def _blocks(config: MonitorConfig, wanted: Reaction, before: Sequence[Decision], told: Circumstances) -> list[Block]:
    """Everything that keeps a start from being made, not the first alone. A refresh does not stand in the way of a training, nor the other way round."""
    started = [datetime.datetime.fromisoformat(decision.when) for decision in before if decision.reaction == wanted]
    recent = [when for when in started if told.now - when < datetime.timedelta(hours=config.cooldown_hours)]
    today = [when for when in started if told.now - when < datetime.timedelta(hours=24)]
    rules: list[tuple[Block, bool]] = [
        ("hold", config.hold),
        ("cooldown", bool(recent)),
        ("daily_budget", len(today) >= config.max_starts_a_day),
        ("already_running", bool(told.num_running)),
        ("running_unknown", told.num_running is None),
    ]
    return [name for name, holds in rules if holds]


def read(path: Path) -> tuple[list[Decision], list[Acceptance]]:
    """(decisions, acceptances), oldest first; none before the first. Raises UserError naming the line where the ledger was changed."""
    entries = hashchain.read(path) if path.exists() else []
    try:
        made = [Decision.model_validate(_without_kind(entry)) for entry in entries if entry.get("kind") == "decision"]
        accepted = [Acceptance.model_validate(_without_kind(entry)) for entry in entries if entry.get("kind") == "accepted"]
    except ValidationError as error:
        raise UserError(f"{path}: holds an entry that is no decision: {error}") from error
    return made, accepted


def append(path: Path, entry: Decision | Acceptance) -> None:
    kind = "decision" if isinstance(entry, Decision) else "accepted"
    hashchain.append(path, {"kind": kind, **entry.model_dump()})


def baseline(release_id: str, before: Sequence[Decision], accepted: Sequence[Acceptance]) -> list[str]:
    """Windows that make up a release's baseline, oldest first: those since the last one that a person accepted, else all accepted ones."""
    by_person = [one for one in accepted if one.release_id == release_id]
    start = by_person[-1].when if by_person else ""
    after = [decision.window for decision in before if decision.release_id == release_id and decision.accepted and decision.when > start]
    return list(dict.fromkeys([*(one.window for one in by_person[-1:]), *after]))


def _without_kind(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "kind"}
