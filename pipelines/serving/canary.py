"""The switch to a new release on live traffic: growing shares, compared with the old release, completed or rolled back."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.config.serve import CanaryConfig
from pipelines.contracts.report import Check, Report
from pipelines.serving import live, traffic
from pipelines.serving.server import Triton

BASELINE_SECONDS = 24 * 3600.0  # of the old release's traffic, the newest requests of it
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Seen:
    """What a release did on live traffic."""

    rows: list[dict[str, Any]]
    thumbs: list[int] = field(default_factory=list)

    def failed(self) -> list[float]:
        """Of the requests that were worked on: a refused input or a client that left says nothing about a release."""
        return [float(row["status"] == "failed") for row in self.rows if row["status"] in ("ok", "failed")]

    def answered(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] == "ok"]

    def slow_ms(self) -> float | None:
        times = sorted(row["total_ms"] for row in self.answered())
        return times[min(len(times) - 1, int(0.95 * len(times)))] if times else None

    def ungrounded(self) -> list[float]:
        return [1 - row["groundedness"] for row in self.answered() if row["groundedness"] is not None]

    def refused(self) -> list[float]:
        return [float(row["refused"]) for row in self.answered()]

    def down(self) -> list[float]:
        return [float(thumb < 0) for thumb in self.thumbs]


def judge(config: CanaryConfig, new: Seen, old: Seen) -> Report:
    """Every comparison with its numbers. Too few requests of either release is a failed check, never a pass."""
    worked = [len(seen.failed()) for seen in (new, old)]
    checks = [
        Check(
            name="enough requests", passed=min(worked) >= config.min_requests, observed=f"{worked[0]} by the new, {worked[1]} by the old release", expected=f"at least {config.min_requests} of each"
        ),
        _higher("failed requests", new.failed(), old.failed(), config.max_error_rate_increase),
        _latency(config, new.slow_ms(), old.slow_ms()),
        _higher("refusing answers", new.refused(), old.refused(), config.max_refused_increase),
    ]
    measured = min(len(new.ungrounded()), len(old.ungrounded()))  # not of refusals, and not while answers wait for the processor
    checks.append(Check(name="enough answers of measured groundedness", passed=measured >= config.min_measured, observed=str(measured), expected=f"at least {config.min_measured} of each"))
    if measured >= config.min_measured:
        checks.append(_higher("lack of groundedness", new.ungrounded(), old.ungrounded(), config.max_groundedness_drop))
    if min(len(new.thumbs), len(old.thumbs)) >= config.min_thumbs:
        checks.append(_higher("thumbs down", new.down(), old.down(), config.max_thumbs_drop))
    return Report.of(checks)


def switch(config: CanaryConfig, triton: Triton, new: str, old: str, folder: Path, say: Callable[[str], None] = print) -> Report:
    """Move the requests step by step; the last report. A report that did not pass means that the old release has everything back."""
    began = time.time()
    report = Report.of([])
    try:
        for share in config.steps:
            shares = [(old, round(1 - share, 6)), (new, share)]
            live.set_routes(shares, canary_pid=os.getpid())
            report = _step(config, triton, shares, began, folder)
            say(f"{new} answers {share:.0%}: {report.reason}")
            if not report.passed:
                break
    finally:
        if not report.passed:
            live.set_routes([(old, 1.0)])
    return report


def _step(config: CanaryConfig, triton: Triton, shares: live.Routes, began: float, folder: Path) -> Report:
    """Wait until the new release has answered enough in this step, or has shown that it must not go on."""
    (old, _), (new, _) = shares
    step = time.time()
    while True:
        time.sleep(LOOK_SECONDS)
        problem = _outside(triton, shares, new)
        if problem:
            return Report.of([problem])
        rows, thumbs = traffic.requests(folder, began - BASELINE_SECONDS), traffic.thumbs(folder, began - BASELINE_SECONDS)
        seen = {release: _seen(rows, thumbs, release, began if release == new else 0.0) for release in (new, old)}
        report = judge(config, seen[new], seen[old])
        fresh = sum(row["time"].timestamp() >= step and row["status"] in ("ok", "failed") for row in seen[new].rows)
        worse = any(not check.passed and not check.name.startswith("enough") for check in report.checks)
        if fresh >= config.min_requests and (report.passed or worse):
            return report
        if time.time() - step > config.max_step_seconds:
            late = Check(name="requests in time", passed=False, observed=f"{fresh} in {config.max_step_seconds:.0f} s", expected=f"at least {config.min_requests}")
            return Report.of([late, *report.checks])


def _outside(triton: Triton, shares: live.Routes, new: str) -> Check | None:
    """What ends a switch at once: the server or the new release is gone, or somebody else has changed the routes."""
    try:
        loaded = live.loaded(triton)
    except OSError as error:
        return Check(name="the server lives", passed=False, observed=f"it does not answer ({error or type(error).__name__})", expected="an answer")
    if new not in loaded:
        return Check(name="the new release stays loaded", passed=False, observed="the server has it no longer", expected="loaded")
    if live.routes()[0] != shares:
        return Check(name="the routes stay", passed=False, observed="they were changed meanwhile (a restart, a rollback, another release)", expected="unchanged")
    return None


def failed(name: str, observed: str) -> Check:
    """A check that something else than a number has decided."""
    return Check(name=name, passed=False, observed=observed, expected="no error")


def _seen(rows: list[dict[str, Any]], thumbs: dict[str, int], release: str, since: float) -> Seen:
    mine = [row for row in rows if row["release_id"] == release and row["time"].timestamp() >= since]
    return Seen(mine, [thumbs[row["request_id"]] for row in mine if row["request_id"] in thumbs])


def _higher(name: str, new: list[float], old: list[float], margin: float) -> Check:
    """Worse by more than the margin, and by more than chance: beyond two standard errors of the difference (Welch)."""
    if not new or not old:
        return Check(name=name, passed=False, observed="nothing was measured", expected=f"at most {margin:.1%} more")
    (mine, spread), (theirs, other) = _mean(new), _mean(old)
    chance = 2 * math.sqrt(spread / len(new) + other / len(old))
    return Check(name=name, passed=mine - theirs <= max(margin, chance) + 1e-9, observed=f"{mine:.1%} against {theirs:.1%}", expected=f"at most {max(margin, chance):.1%} more")


def _mean(values: list[float]) -> tuple[float, float]:
    """Mean and variance."""
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)


def _latency(config: CanaryConfig, new: float | None, old: float | None) -> Check:
    shown = f"{new:.0f} ms against {old:.0f} ms" if new is not None and old is not None else "not measured: one of them answered nothing"
    passed = new is not None and old is not None and new <= old * config.max_latency_ratio
    return Check(name="95th percentile of the time to the answer", passed=passed, observed=shown, expected=f"at most {config.max_latency_ratio} times")
