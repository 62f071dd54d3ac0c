"""Moves live traffic to a new release in growing shares, completed or rolled back.

In each step the new release is compared with the old one.
"""

import os
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipelines.config.canary import CanaryConfig
from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.serving import live_routes, live_server, recent_traffic
from pipelines.serving.release_comparison import ReleaseTraffic, judge
from pipelines.serving.triton_connection import Triton

BASELINE_SECONDS = 24 * 3600.0  # of the old release's traffic, the newest requests of it
LOOK_SECONDS = 1.0
LOG = ".state/serving/server.log"  # of the live server; for messages
WAITING = (CheckCode.ENOUGH_REQUESTS, CheckCode.ENOUGH_MEASURED)


class Verdict(StrEnum):
    """What a comparison means for the step."""

    GOOD = "good"
    WORSE = "worse"
    UNCLEAR = "unclear"  # only measurements are missing


@dataclass(frozen=True)
class Handover:
    """The releases of a switch, the server that has both loaded, and the traffic log's folder.

    `expected_latency_ratio`: how many times as long as the old release the new one may take, if
    that was declared with it.
    """

    new: str
    old: str
    triton: Triton
    traffic: Path
    expected_latency_ratio: float | None = None

    def shares(self, share: float) -> live_routes.Shares:
        """The routes while the new release answers this share."""
        return [(self.old, round(1 - share, 6)), (self.new, share)]


@dataclass(frozen=True)
class Step:
    """One share of a switch. Times are seconds since 1970."""

    shares: live_routes.Shares
    start: float
    switch_start: float


def switch(config: CanaryConfig, handover: Handover) -> Report:
    """Move the requests step by step; the last report.

    If that did not pass, the old release has everything back.
    """
    switch_start = time.time()
    report = Report.of([])
    try:
        for share in config.steps:
            shares = handover.shares(share)
            live_routes.write(shares, canary_pid=os.getpid())
            report = _run_step(config, handover, Step(shares, time.time(), switch_start))
            print(f"{handover.new} answers {share:.0%}: {report.reason}")
            if not report.passed:
                break
    finally:
        if not report.passed:
            live_routes.write([(handover.old, 1.0)])
    return report


def verdict_of(report: Report) -> Verdict:
    """Read from the checks' codes alone; their names and texts are for people."""
    failures = report.failures()
    if report.passed:
        return Verdict.GOOD
    if all(check.code in WAITING for check in failures):
        return Verdict.UNCLEAR
    return Verdict.WORSE


def failure(name: str, observation: str, expectation: str, remedy: str) -> Report:
    """A report that an event has decided, not a number."""
    check = Check(
        name=name, passed=False, observed=observation, expected=expectation, remedy=remedy
    )
    return Report.of([check])


def _run_step(config: CanaryConfig, handover: Handover, step: Step) -> Report:
    """Wait until the new release has answered enough, or has shown that it must not go on."""
    while True:
        time.sleep(LOOK_SECONDS)
        interruption = _interruption(handover, step)
        if interruption is not None:
            return interruption
        new, old = _read_traffic(handover, step)
        report = judge(config, new, old, handover.expected_latency_ratio)
        num_fresh = new.since(step.start).num_worked_on()
        if num_fresh >= config.min_requests and verdict_of(report) is not Verdict.UNCLEAR:
            return report
        if time.time() - step.start > config.max_step_seconds:
            return Report.of([_too_late(config, num_fresh), *report.checks])


def _interruption(handover: Handover, step: Step) -> Report | None:
    """What ends a switch at once.

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
    if handover.new not in releases:
        return failure(
            "the new release stays loaded",
            "the server has unloaded it, or was started again without it",
            "loaded until the end",
            f"{LOG} says why. Release again",
        )
    if live_routes.read().shares != step.shares:
        return failure(
            "the routes stay as this command set them",
            "they were changed meanwhile (the server was restarted, or somebody rolled back or "
            "released something else)",
            "unchanged until the end",
            "`python -m pipelines releases` says what is live and who decided it. Release again "
            "if it is still meant to be this release",
        )
    return None


def _read_traffic(handover: Handover, step: Step) -> tuple[ReleaseTraffic, ReleaseTraffic]:
    """What the new release has done since the switch began, and the old one in the last day."""
    since = step.switch_start - BASELINE_SECONDS
    rows = recent_traffic.requests(handover.traffic, since)
    thumbs = recent_traffic.thumbs(handover.traffic, since)
    new = ReleaseTraffic.of_release(handover.new, rows, thumbs)
    old = ReleaseTraffic.of_release(handover.old, rows, thumbs)
    return new.since(step.switch_start), old


def _too_late(config: CanaryConfig, num_fresh: int) -> Check:
    return Check(
        name="the step ends in time",
        passed=False,
        observed=f"undecided after {config.max_step_seconds:g} s (canary.max_step_seconds), with "
        f"{num_fresh} requests to the new release",
        expected=f"at least {config.min_requests} requests (canary.min_requests), and all measured",
        remedy="Release while requests come in (`python -m pipelines simulate` sends some), raise "
        "canary.max_step_seconds, or lower canary.min_requests",
    )
