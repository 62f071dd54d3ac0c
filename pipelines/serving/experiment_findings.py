"""What an experiment has shown so far: the metric's interval, its course, and the guard rails."""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.contracts.report import Report
from pipelines.serving import experiment_outcomes, live_comparison, locations, recent_traffic
from pipelines.serving.confidence_sequence import ConfidenceSequence
from pipelines.serving.experiment_outcomes import Outcome
from pipelines.serving.experiment_record import Experiment
from pipelines.serving.live_comparison import LiveComparison, Phase
from pipelines.serving.sequential_test import Assignment

MAX_POINTS = 200  # of a course
ONE = np.asarray(1.0)


class Point(NamedTuple):
    """The interval after so many askers."""

    num_askers: int
    low: float
    high: float


class Side(NamedTuple):
    """One release: askers with a value, and their mean; None if there are none."""

    num_askers: int
    mean: float | None

    @classmethod
    def of(cls, outcomes: list[Outcome], *, is_new: bool) -> "Side":
        values = [outcome.value for outcome in outcomes if outcome.is_new == is_new]
        return cls(len(values), sum(values) / len(values) if values else None)

    def describe(self) -> str:
        return "none" if self.mean is None else f"{self.mean:.1%} of {self.num_askers}"


@dataclass(frozen=True)
class Findings:
    """All that a person decides by. The course begins without an asker and ends today."""

    experiment: Experiment
    new: Side
    old: Side
    course: list[Point]
    guard_rails: Report

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `undecided`: the new release in the metric."""
        last = self.course[-1]
        if last.high < 0:
            return "better"
        return "worse" if last.low > 0 else "undecided"

    def describe(self) -> str:
        """One sentence with the numbers, for people and the ledger."""
        last = self.course[-1]
        config = self.experiment.config
        return (
            f"{self.verdict} in {config.metric}: {self.new.describe()} with {self.experiment.new} "
            f"against {self.old.describe()} with {self.experiment.old}, difference from "
            f"{last.low:+.3f} to {last.high:+.3f} at {config.confidence:.0%} confidence"
        )


def read(experiment: Experiment) -> Findings:
    """By the traffic log and the feedback up to now."""
    folder = locations.traffic_folder()
    rows = recent_traffic.requests(folder, experiment.start)
    feedback = recent_traffic.feedback(folder, experiment.start)
    outcomes = experiment_outcomes.collect(experiment, rows, feedback, time.time())
    comparison = begin_guard_rails(experiment)
    comparison.add(rows, recent_traffic.thumbs(folder, experiment.start))
    return Findings(
        experiment=experiment,
        new=Side.of(outcomes, is_new=True),
        old=Side.of(outcomes, is_new=False),
        course=follow(experiment, outcomes),
        guard_rails=comparison.judge().report,
    )


def begin_guard_rails(experiment: Experiment) -> LiveComparison:
    """The canary's comparisons, each asker's first request counting once, before any request."""
    comparison = LiveComparison(experiment.canary, experiment.declaration, [])
    start = experiment.start - live_comparison.SETTLING_SECONDS
    comparison.begin(Phase(start, experiment.shares))
    return comparison


def follow(experiment: Experiment, outcomes: list[Outcome]) -> list[Point]:
    """The interval after each outcome, thinned out to MAX_POINTS."""
    sequence = ConfidenceSequence.start(experiment.config.confidence)
    share = np.asarray(experiment.config.share)
    points = [Point(0, -1.0, 1.0)]
    for number, outcome in enumerate(outcomes, 1):
        assignment = Assignment(np.asarray(float(outcome.is_new)), share, ONE)
        sequence = sequence.after(np.asarray(outcome.value), assignment)
        points.append(Point(number, float(sequence.interval.low), float(sequence.interval.high)))
    step = max(1, len(points) // MAX_POINTS)
    return [*points[:-1:step], points[-1]]
