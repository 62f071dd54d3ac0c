"""The switch to a new release on live traffic: growing shares, compared with the old release, completed or rolled back."""

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

    def share(self, name: str, value: Any) -> float:
        return sum(row[name] == value for row in self.rows) / len(self.rows) if self.rows else 0.0

    def failed(self) -> float:
        """Of the requests that were worked on: a refused input or a client that left says nothing about a release."""
        worked = [row for row in self.rows if row["status"] in ("ok", "failed")]
        return sum(row["status"] == "failed" for row in worked) / len(worked) if worked else 0.0

    def answered(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] == "ok"]

    def slow_ms(self) -> float | None:
        times = sorted(row["total_ms"] for row in self.answered())
        return times[min(len(times) - 1, int(0.95 * len(times)))] if times else None

    def grounded(self) -> float | None:
        known = [row["groundedness"] for row in self.answered() if row["groundedness"] is not None]
        return sum(known) / len(known) if known else None

    def refused(self) -> float:
        return sum(row["refused"] for row in self.answered()) / len(self.answered()) if self.answered() else 0.0

    def up(self) -> float:
        return sum(thumb > 0 for thumb in self.thumbs) / len(self.thumbs) if self.thumbs else 0.0


def judge(config: CanaryConfig, new: Seen, old: Seen) -> Report:
    """Every comparison with its numbers. Too few requests of either release is a failed check, never a pass."""
    worked = [sum(row["status"] in ("ok", "failed") for row in seen.rows) for seen in (new, old)]
    checks = [
        Check(
            name="enough requests", passed=min(worked) >= config.min_requests, observed=f"{worked[0]} by the new, {worked[1]} by the old release", expected=f"at least {config.min_requests} of each"
        ),
        _higher("failed requests", new.failed(), old.failed(), config.max_error_rate_increase),
        _latency(config, new.slow_ms(), old.slow_ms()),
        _higher("refusing answers", new.refused(), old.refused(), config.max_refused_increase),
    ]
    mine, theirs = new.grounded(), old.grounded()
    if mine is not None and theirs is not None:
        checks.append(_higher("lack of groundedness", 1 - mine, 1 - theirs, config.max_groundedness_drop))
    if min(len(new.thumbs), len(old.thumbs)) >= config.min_thumbs:
        checks.append(_higher("thumbs down", 1 - new.up(), 1 - old.up(), config.max_thumbs_drop))
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
        worse = any(not check.passed and check.name != "enough requests" for check in report.checks)
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


def _higher(name: str, new: float, old: float, margin: float) -> Check:
    return Check(name=name, passed=new - old <= margin + 1e-9, observed=f"{new:.1%} against {old:.1%}", expected=f"at most {margin:.1%} more")


def _latency(config: CanaryConfig, new: float | None, old: float | None) -> Check:
    shown = f"{new:.0f} ms against {old:.0f} ms" if new is not None and old is not None else "not measured: one of them answered nothing"
    passed = new is not None and old is not None and new <= old * config.max_latency_ratio
    return Check(name="95th percentile of the time to the answer", passed=passed, observed=shown, expected=f"at most {config.max_latency_ratio} times")
