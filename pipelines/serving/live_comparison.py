"""Feeds the traffic log of a switch into the comparisons, and says what they tell.

Every request is counted once, when the log first shows it: what was counted never changes, so a
look at it is a look at the same bets. Only requests since the switch began are compared, while both
releases answer; the old release's last day merely gives the forecasts to begin with.

An asker stays with one release while the shares stay the same, so the first request of each asker
in a step is the only one whose release was drawn, and the only one that is compared.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipelines.config.canary import CanaryConfig
from pipelines.contracts.report import Check, Report
from pipelines.runtime import routing
from pipelines.serving import comparison_texts as texts
from pipelines.serving import release_comparison as comparing
from pipelines.serving.evidence_curves import EvidenceCurves, LogOdds
from pipelines.serving.release_comparison import (
    ESSENTIAL,
    Comparison,
    Declaration,
    FullLoad,
    Measure,
    Values,
)
from pipelines.serving.sequential_test import Assignment, Numbers, weigh

Row = dict[str, Any]  # of the traffic log
# A request that was refused at the door or whose client left says nothing about a release.
WORKED_ON = ("ok", "failed")
NO_NAME = "default"  # the tenant of requests that name none
# Around a change of the routes it is not known by which share a request was routed.
SETTLING_SECONDS = 1.0
FULL_LOAD = "failed requests while it answers everything"


class Phase(NamedTuple):
    """The time from which on the new release answers a share. `start`: seconds since 1970."""

    start: float
    routes: routing.Routes  # the old release, then the new one

    @property
    def share(self) -> float:
        return self.routes[-1][1]


@dataclass(frozen=True)
class Judgement:
    """What the comparisons tell. `report`: a check fails if the new release is worse."""

    report: Report
    gaps: list[str]  # what is not ruled out, for people; empty if nothing is left to tell


class LiveComparison:
    """The comparisons of a switch, with the requests that they have counted."""

    def __init__(self, config: CanaryConfig, declaration: Declaration, history: list[Row]):
        """`history`: requests to the old release before the switch, each with its `thumb`."""
        self._config = config
        self._limits = comparing.limits(config, declaration)
        past = _columns(history)
        self._past_failures = past[Measure.FAILURES]
        self._comparisons: dict[Measure, Comparison] = {}
        for measure in Measure:
            limit = self._limits[measure]
            self._comparisons[measure] = Comparison.start(measure, limit, past[measure])
        self._full_load = FullLoad.start()
        self._counted: set[str] = set()  # ids of requests
        self._assignments: dict[str, Assignment] = {}  # of each request that is compared
        self._phase_by_asker: dict[float, Phase] = {}  # the last one in which an asker came
        self._without_thumb: set[str] = set()
        self._num_by_tenant: Counter[str] = Counter()
        self._num_fresh = 0
        self.phases: list[Phase] = []
        self.curves = EvidenceCurves(config)

    def begin(self, phase: Phase) -> None:
        """From now on the new release answers another share."""
        self.phases.append(phase)
        self._num_fresh = 0
        self.curves.mark(len(self._counted), f"{phase.share:.0%}")

    @property
    def num_fresh(self) -> int:
        """Requests to the new release since the last phase began."""
        return self._num_fresh

    @property
    def num_new(self) -> int:
        """Requests to the new release that were compared with the old one's."""
        return int(self._comparisons[Measure.FAILURES].new.num)

    def add(self, rows: list[Row], thumbs: dict[str, int]) -> None:
        """Count what was not counted before. `thumbs`: request id -> 1 or -1."""
        for row in sorted(rows, key=_arrival):
            if row["request_id"] not in self._counted and row["status"] in WORKED_ON:
                self._add_row(row)
        for request_id in sorted(self._without_thumb & thumbs.keys()):
            self._without_thumb.remove(request_id)
            value = np.asarray(float(thumbs[request_id] < 0))
            self._compare({Measure.THUMBS: value}, self._assignments[request_id])

    def _add_row(self, row: Row) -> None:
        phase = self._phase(row["time"].timestamp())
        position = row["position"]
        if phase is None or routing.pick(phase.routes, position) != row["release_id"]:
            return
        self._counted.add(row["request_id"])
        is_new = row["release_id"] == phase.routes[-1][0]
        self._num_fresh += is_new and phase is self.phases[-1]
        values = values_of(row)
        if phase.share == 1:
            limit = self._failure_limit()
            self._full_load = self._full_load.after(values[Measure.FAILURES], limit)
            return
        chance = self._chance_of_new(position, phase)
        self._phase_by_asker[position] = phase
        if 0 < chance < 1:
            assignment = Assignment(
                np.asarray(float(is_new)), np.asarray(chance), self._weight(row["tenant"])
            )
            self._assignments[row["request_id"]] = assignment
            self._num_by_tenant[row["tenant"]] += 1
            self._without_thumb.add(row["request_id"])
            self._compare(values, assignment)

    def _chance_of_new(self, position: float, phase: Phase) -> float:
        """That the new release answers an asker, by what was known before this request.

        0 or 1 if the asker's release is known: it came in this step, or had the new release before.
        """
        previous = self._phase_by_asker.get(position)
        if previous is None:
            return phase.share
        had_new = routing.pick(previous.routes, position) == previous.routes[-1][0]
        if had_new:
            return 1.0
        return max(0.0, (phase.share - previous.share) / (1 - previous.share))

    def _phase(self, time: float) -> Phase | None:
        """The phase in which a request came; None before the first and around a change."""
        current = None
        for phase in self.phases:
            if abs(time - phase.start) < SETTLING_SECONDS:
                return None
            if time > phase.start:
                current = phase
        return current

    def _weight(self, tenant: str) -> Numbers:
        if tenant == NO_NAME:
            return np.asarray(1.0)
        num_own = np.asarray(float(self._num_by_tenant[tenant]))
        num_all = np.asarray(float(self._num_by_tenant.total()))
        return weigh(num_own, num_all, self._config.max_asker_share)

    def _compare(self, values: Values, assignment: Assignment) -> None:
        for measure, value in values.items():
            comparison = self._comparisons[measure]
            self._comparisons[measure] = comparison.after(value, assignment)

    def _failure_limit(self) -> Numbers:
        failures = self._comparisons[Measure.FAILURES]
        return comparing.failure_limit(self._config, failures, self._past_failures)

    def judge(self) -> Judgement:
        """Every comparison with its numbers."""
        checks = [self._check(comparison) for comparison in self._comparisons.values()]
        if self.phases and self.phases[-1].share == 1:
            checks.append(self._check_full_load())
        gaps: list[str] = []
        min_odds = comparing.odds_of_harmlessness(self._config)
        for measure in ESSENTIAL:
            comparison = self._comparisons[measure]
            if comparison.harmless.evidence.log_odds() < math.log(min_odds):
                gaps.append(texts.describe_gap(comparison, min_odds))
        self.curves.add(len(self._counted), self._log_odds())
        return Judgement(Report.of(checks), gaps)

    def _log_odds(self) -> dict[str, LogOdds]:
        log_odds: dict[str, LogOdds] = {}
        for measure, comparison in self._comparisons.items():
            worse = float(comparison.worse.evidence.log_odds())
            harmless = float(comparison.harmless.evidence.log_odds())
            log_odds[texts.NAMES[measure]] = LogOdds(worse, harmless)
        if self.phases and self.phases[-1].share == 1:
            log_odds[FULL_LOAD] = LogOdds(float(self._full_load.evidence.log_odds()))
        return log_odds

    def _check(self, comparison: Comparison) -> Check:
        min_odds = comparing.odds_of_rollback(self._config)
        log_odds = float(comparison.worse.evidence.log_odds())
        limit = self._limits[comparison.measure]
        return Check(
            name=texts.NAMES[comparison.measure],
            passed=log_odds < math.log(min_odds),
            observed=texts.describe(comparison, log_odds),
            expected=texts.expectation(comparison.measure, limit.tolerate, min_odds),
            remedy=texts.remedy(comparison),
        )

    def _check_full_load(self) -> Check:
        min_odds = comparing.odds_of_rollback(self._config)
        log_odds = float(self._full_load.evidence.log_odds())
        tally = self._full_load.tally
        limit = float(self._failure_limit())
        return Check(
            name=FULL_LOAD,
            passed=log_odds < math.log(min_odds),
            observed=f"{texts.share(tally)}; {texts.odds(log_odds)}",
            expected=f"at most {limit:.1%}, what both failed before and "
            f"canary.limits.failures.tolerate, or evidence below {min_odds:.0f} to 1",
            remedy=texts.REMEDIES[Measure.FAILURES],
        )


def values_of(row: Row) -> Values:
    """What a row says in each measure but the thumbs; NaN: nothing."""
    is_answer = row["status"] == "ok"
    groundedness = row["groundedness"] if is_answer else None
    numbers = {
        Measure.FAILURES: float(not is_answer),
        Measure.LATENCY: math.log(max(row["total_ms"], 0.1)) if is_answer else math.nan,
        Measure.REFUSALS: float(row["refused"]) if is_answer else math.nan,
        Measure.GROUNDEDNESS: math.nan if groundedness is None else 1 - groundedness,
    }
    return {measure: np.asarray(number) for measure, number in numbers.items()}


def _columns(history: list[Row]) -> dict[Measure, Numbers]:
    """The values of each measure, those that do not apply left out."""
    columns: dict[Measure, list[float]] = {measure: [] for measure in Measure}
    for row in history:
        if row["status"] not in WORKED_ON:
            continue
        values = values_of(row)
        if row["thumb"] is not None:
            values[Measure.THUMBS] = np.asarray(float(row["thumb"] < 0))
        for measure, value in values.items():
            if not np.isnan(value):
                columns[measure].append(float(value))
    return {measure: np.array(column) for measure, column in columns.items()}


def _arrival(row: Row) -> tuple[float, str]:
    return row["time"].timestamp(), row["request_id"]
