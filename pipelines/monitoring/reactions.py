"""What follows from a window's verdict: nothing, new documents, retraining, or a human.

Everything is decided from the verdict, the decisions before it and what is known about reviews and
running work, so that a decision can be made again from its evidence. What is not known counts
against starting anything.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.drift import Decision, Reaction, Signal, Verdict
from pipelines.contracts.report import CheckCode

STARTS: tuple[Reaction, ...] = ("train", "refresh")
OUTAGE_SIGNALS = ("empty_results", "failures", "latency", "cost")
UNKNOWN_QUESTION_SIGNALS = ("new_topic", "unfamiliar_questions", "out_of_scope")
Block = Literal["hold", "cooldown", "daily_budget", "already_running", "running_unknown"]


@dataclass(frozen=True)
class Circumstances:
    """What is known beside the verdict."""

    now: datetime.datetime
    num_running: int | None  # trainings and refreshes queued or running; None: not known
    num_reviewed: int  # reviewed questions that the live release has not learned from
    num_waiting: int  # feedback without a review
    # Whether data/raw holds other files than the live release was made of; None: not known.
    documents_changed: bool | None


@dataclass(frozen=True)
class ReasonedReaction:
    """A reaction with its reason. `proposal` is what it would be without `blocks`."""

    proposal: Reaction
    reaction: Reaction
    is_confirmed: bool
    blocks: list[Block]
    sentence: str


class Proposal(NamedTuple):
    """What a confirmed drift calls for, and why."""

    reaction: Reaction
    reason: str


def decide(
    config: MonitorConfig,
    verdict: Verdict,
    earlier: Sequence[Decision],
    circumstances: Circumstances,
) -> ReasonedReaction:
    """The reaction to a verdict. `earlier`: all decisions, oldest first."""
    if verdict.outcome == "cannot_tell":
        reaction: Reaction = "none" if _only_lacks_requests(verdict) else "cannot_tell"
        return ReasonedReaction("cannot_tell", reaction, False, [], verdict.sentence)
    if verdict.outcome == "no_drift":
        return ReasonedReaction("none", "none", False, [], verdict.sentence)
    if verdict.baseline_kind != "live":
        reason = (
            f"{verdict.sentence} This release has no accepted live traffic to compare with yet: "
            "look at the report, and if such traffic is what you expect, "
            f"`python -m pipelines accept {verdict.window} --who YOU --why REASON`"
        )
        return ReasonedReaction("human", "human", True, [], reason)
    if not _is_confirmed(config, verdict, earlier):
        reason = (
            f"{verdict.sentence} It starts nothing before it has lasted "
            f"{config.persist_windows} windows in a row"
        )
        return ReasonedReaction("none", "none", False, [], reason)
    proposal = _propose(config, verdict, circumstances)
    blocks: list[Block] = []
    if proposal.reaction in STARTS:
        blocks = _blocks(config, proposal.reaction, earlier, circumstances)
    sentence = f"{verdict.sentence} {proposal.reason}"
    if not blocks:
        return ReasonedReaction(proposal.reaction, proposal.reaction, True, [], sentence)
    block_names = ", ".join(blocks).replace("_", " ")
    sentence = f"{sentence} Not started: {block_names}."
    return ReasonedReaction(proposal.reaction, "none", True, blocks, sentence)


def _only_lacks_requests(verdict: Verdict) -> bool:
    """Whether nothing is broken: the next run may have enough requests."""
    codes = [check.code for check in verdict.checks.checks if not check.passed]
    return codes == [CheckCode.NUM_REQUESTS]


def _is_confirmed(config: MonitorConfig, verdict: Verdict, earlier: Sequence[Decision]) -> bool:
    """Whether the drift is drastic, or one signal drifted in this window and those before it.

    A window that could not be judged neither counts nor breaks the row.
    """
    if verdict.drastic:
        return True
    lasting = {signal.name for signal in verdict.signals if signal.drifted}
    num_needed = config.persist_windows - 1
    for decision in reversed(earlier):
        if not num_needed:
            break
        if decision.release_id == verdict.release_id and decision.outcome != "cannot_tell":
            lasting &= set(decision.signals)
            num_needed -= 1
    return bool(lasting) and not num_needed


def _propose(config: MonitorConfig, verdict: Verdict, circumstances: Circumstances) -> Proposal:
    drifting_signals = [signal for signal in verdict.signals if signal.drifted]
    outages = [signal.name for signal in drifting_signals if signal.name in OUTAGE_SIGNALS]
    if outages:
        names = ", ".join(outages)
        fault = "this looks like a fault of the service, which training does not fix."
        return Proposal("human", f"{names}: {fault}")
    if all(signal.group == "operations" for signal in drifting_signals):
        reason = "Only the running of the service changed, which training does not fix."
        return Proposal("human", reason)
    num_reviewed = circumstances.num_reviewed
    if num_reviewed >= config.min_reviewed:
        reason = f"{num_reviewed} reviewed questions are there to learn from: retraining."
        return Proposal("train", reason)
    if circumstances.documents_changed and _lacks_documents(drifting_signals):
        reason = (
            "Questions find worse passages and the documents have changed since the release: "
            "new index."
        )
        return Proposal("refresh", reason)
    waiting = "no feedback waits for review"
    if circumstances.num_waiting:
        waiting = f"{circumstances.num_waiting} feedbacks wait for `python -m pipelines review`"
    reviews = f"{num_reviewed} reviewed questions of {config.min_reviewed} needed"
    return Proposal("human", f"There is too little to learn from: {reviews}; {waiting}.")


def _lacks_documents(drifting_signals: Sequence[Signal]) -> bool:
    for signal in drifting_signals:
        if signal.name in UNKNOWN_QUESTION_SIGNALS:
            return True
        if signal.name == "best_score" and signal.direction == "less":
            return True
    return False


def _blocks(
    config: MonitorConfig,
    reaction: Reaction,
    earlier: Sequence[Decision],
    circumstances: Circumstances,
) -> list[Block]:
    """Everything that keeps a start from being made, not the first alone.

    A refresh does not stand in the way of a training, nor the other way round.
    """
    ages = [
        circumstances.now - datetime.datetime.fromisoformat(decision.when)
        for decision in earlier
        if decision.reaction == reaction
    ]
    cooldown = datetime.timedelta(hours=config.cooldown_hours)
    num_today = sum(age < datetime.timedelta(hours=24) for age in ages)
    rules: list[tuple[Block, bool]] = [
        ("hold", config.hold),
        ("cooldown", any(age < cooldown for age in ages)),
        ("daily_budget", num_today >= config.max_starts_a_day),
        ("already_running", bool(circumstances.num_running)),
        ("running_unknown", circumstances.num_running is None),
    ]
    return [name for name, applies in rules if applies]
