"""Changes that a release is meant to bring: from the command line, or release.expected."""

import math

from pipelines.config.canary import LimitsConfig
from pipelines.config.release import ExpectedConfig
from pipelines.decision.ledger import Event
from pipelines.errors import UserError
from pipelines.serving.release_comparison import Declaration

NOTHING = Declaration()


def merge(config: ExpectedConfig, command_line: Declaration) -> Declaration:
    """The command line's word counts before that of params.yaml."""
    latency_ratio = command_line.latency_ratio
    refused_increase = command_line.refused_increase
    return Declaration(
        config.latency_ratio if latency_ratio is None else latency_ratio,
        config.refused_increase if refused_increase is None else refused_increase,
    )


def check(limits: LimitsConfig, declaration: Declaration) -> None:
    """Raises UserError for a declaration that allows no more than canary.limits does, or all."""
    ratio = declaration.latency_ratio
    limit = limits.latency.tolerate
    if ratio is not None and not limit < ratio < math.inf:
        raise UserError(
            f"a declared latency ratio of {ratio:g} must be a number above "
            f"canary.limits.latency.tolerate ({limit:g} in params.yaml), which allows as much by "
            "itself: 40 means that an answer may take 40 times as long as the old release's. "
            "Declare nothing if the new release is not meant to be slower"
        )
    increase = declaration.refused_increase
    highest = 1 - limits.refusals.find
    if increase is not None and not 0 < increase < highest:
        raise UserError(
            f"a declared increase of refusals by {increase:g} must lie above 0 and below "
            f"{highest:g}, so that a larger one by canary.limits.refusals.find can still be found: "
            "0.2 means 20 more refusals in 100 answers"
        )


def demand_new(config: ExpectedConfig, command_line: Declaration, events: list[Event]) -> None:
    """Raises UserError if release.expected still says what the live release was declared with.

    Otherwise a change that was meant once would be tolerated in every release after it.
    """
    declaration = Declaration(config.latency_ratio, config.refused_increase)
    if declaration == NOTHING or command_line != NOTHING:
        return
    for event in reversed(events):
        if event.champion is None:
            continue
        if declaration == Declaration(
            event.expected_latency_ratio, event.expected_refused_increase
        ):
            raise UserError(
                f"release.expected in params.yaml is what {event.release_id} was declared with "
                f"({describe(declaration)}), and that is live: set it to null. If the next release "
                "is to differ by as much again, say so on the command line "
                "(`python -m pipelines release --help`)"
            )
        return


def describe(declaration: Declaration) -> str:
    """What was declared, for people; empty if nothing was."""
    parts: list[str] = []
    if declaration.latency_ratio is not None:
        parts.append(f"may take {declaration.latency_ratio:g} times as long")
    if declaration.refused_increase is not None:
        parts.append(f"may refuse {declaration.refused_increase:.0%} more of the questions")
    return " and ".join(parts)
