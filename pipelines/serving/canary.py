"""Moves live traffic to a new release in growing shares, completed or rolled back.

In each step the new release is compared with the old one by a test that may look at any time.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.config.canary import CanaryConfig
from pipelines.contracts.release_steps import Plot
from pipelines.contracts.report import Check, Report
from pipelines.serving import live_routes, live_server, recent_traffic
from pipelines.serving.declarations import NOTHING
from pipelines.serving.live_comparison import Judgement, LiveComparison, Phase
from pipelines.serving.release_comparison import Declaration
from pipelines.serving.triton_connection import Triton

HISTORY_SECONDS = 24 * 3600.0  # of the old release's traffic, which gives the first forecasts
LOOK_SECONDS = 1.0
LATE_SECONDS = 900.0  # after its arrival no request is logged any more
LOG = ".state/serving/server.log"  # of the live server; for messages


@dataclass(frozen=True)
class Handover:
    """The releases of a switch, the server that has both loaded, and the traffic log's folder.

    `declaration`: in what the new release is meant to differ, as declared with it.
    """

    new: str
    old: str
    triton: Triton
    traffic: Path
    declaration: Declaration = NOTHING

    def shares(self, share: float) -> live_routes.Shares:
        """The routes while the new release answers this share."""
        return [(self.old, round(1 - share, 6)), (self.new, share)]


@dataclass(frozen=True)
class Outcome:
    """How a switch or a step ended.

    `gaps`: what could not be told, for people. `plots`: how the evidence grew, of a whole switch.
    """

    report: Report
    gaps: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One share of a switch."""

    shares: live_routes.Shares
    start: float  # seconds since 1970
    is_last_comparison: bool  # the next step gives everything to the new release


def switch(config: CanaryConfig, handover: Handover) -> Outcome:
    """Move the requests step by step.

    If the last report did not pass, the old release has everything back.
    """
    comparison = LiveComparison(config, handover.declaration, _history(handover))
    switch_start = time.time()
    gaps: list[str] = []
    report = Report.of([])
    try:
        for share in config.steps:
            shares = handover.shares(share)
            live_routes.write(shares, canary_pid=os.getpid())
            step = Step(shares, time.time(), share == config.steps[-2])
            comparison.begin(Phase(step.start, shares))
            outcome = _run_step(config, handover, step, comparison, switch_start)
            report = outcome.report
            print(f"{handover.new} answers {share:.0%}: {report.reason}")
            if not report.passed:
                break
            if outcome.gaps:
                print("  undecided: " + "; ".join(outcome.gaps))
            if step.is_last_comparison or share == config.steps[-1]:
                gaps += outcome.gaps
    finally:
        if not report.passed:
            live_routes.write([(handover.old, 1.0)])
    return Outcome(report, gaps, comparison.curves.plots())


def failure(name: str, observation: str, expectation: str, remedy: str) -> Report:
    """A report that an event has decided, not a number."""
    check = Check(
        name=name, passed=False, observed=observation, expected=expectation, remedy=remedy
    )
    return Report.of([check])


def _run_step(
    config: CanaryConfig,
    handover: Handover,
    step: Step,
    comparison: LiveComparison,
    switch_start: float,
) -> Outcome:
    """Wait until the new release may go on, or has shown that it must not."""
    is_held = False
    while True:
        time.sleep(LOOK_SECONDS)
        interruption = find_interruption(handover, step.shares)
        if interruption is not None:
            return Outcome(interruption)
        since = max(switch_start, time.time() - LATE_SECONDS)
        rows = recent_traffic.requests(handover.traffic, since)
        comparison.add(rows, recent_traffic.thumbs(handover.traffic, switch_start))
        judgement = comparison.judge()
        if not judgement.report.passed:
            return Outcome(judgement.report)
        missing = _missing(config, step, comparison, judgement)
        if not missing:
            return Outcome(judgement.report)
        is_late = time.time() - step.start > config.max_step_seconds
        if is_late and config.undecided != "hold":
            return _end_undecided(config, step, comparison, judgement, missing)
        if is_late and not is_held:
            print(f"held at {step.shares[-1][1]:.0%} until this is told: {'; '.join(missing)}")
            is_held = True


def _missing(
    config: CanaryConfig, step: Step, comparison: LiveComparison, judgement: Judgement
) -> list[str]:
    """What the step has yet to tell, for people."""
    missing: list[str] = []
    if comparison.num_fresh < config.min_requests:
        missing.append(
            f"{comparison.num_fresh} of {config.min_requests} requests (canary.min_requests) were "
            f"answered by the new release in the step of {step.shares[-1][1]:.0%}"
        )
    if step.is_last_comparison:
        missing += judgement.gaps
    return missing


def _end_undecided(
    config: CanaryConfig,
    step: Step,
    comparison: LiveComparison,
    judgement: Judgement,
    missing: list[str],
) -> Outcome:
    """What canary.undecided says. A release that answered nothing at all never goes on."""
    is_unseen = step.is_last_comparison and comparison.num_new == 0
    if config.undecided == "go_on" and not is_unseen:
        return Outcome(judgement.report, missing)
    check = Check(
        name="the step can tell in time",
        passed=False,
        observed=f"undecided after {config.max_step_seconds:g} s (canary.max_step_seconds): "
        + "; ".join(missing),
        expected="every harm that must be found (canary.limits) is found or ruled out"
        if not is_unseen
        else "at least one request to the new release before it answers everything",
        remedy="Release while requests come in (`python -m pipelines simulate` sends some), raise "
        "canary.max_step_seconds, or say in canary.undecided what then follows",
    )
    return Outcome(Report.of([check, *judgement.report.checks]))


def _history(handover: Handover) -> list[dict[str, object]]:
    """The old release's requests of the last day, each with its thumb or None."""
    since = time.time() - HISTORY_SECONDS
    thumbs = recent_traffic.thumbs(handover.traffic, since)
    history: list[dict[str, object]] = []
    for row in recent_traffic.requests(handover.traffic, since):
        if row["release_id"] == handover.old:
            history.append({**row, "thumb": thumbs.get(row["request_id"])})
    return history


def find_interruption(handover: Handover, shares: live_routes.Shares) -> Report | None:
    """What ends a switch or a shadow at once; `shares`: the routes as this command left them.

    The server or the new release is gone, or somebody else has changed the routes.
    """
    try:
        releases = live_server.loaded_releases(handover.triton)
    except OSError as error:
        reason = str(error) or type(error).__name__
        return failure(
            "the live server answers",
            f"it does not answer ({reason})",
            "an answer",
            f"{LOG} says why it ended. `make serve` starts it again; then release again",
        )
    for release_id in (handover.new, handover.old):
        if release_id not in releases:
            return failure(
                "both releases stay loaded",
                f"the server has unloaded {release_id}, or was started again without it",
                "loaded until the end",
                f"{LOG} says why. Release again",
            )
    if live_routes.read().shares != shares:
        return failure(
            "the routes stay as this command set them",
            "they were changed meanwhile (the server was restarted, or somebody rolled back or "
            "released something else)",
            "unchanged until the end",
            "`python -m pipelines releases` says what is live and who decided it. Release again "
            "if it is still meant to be this release",
        )
    return None
