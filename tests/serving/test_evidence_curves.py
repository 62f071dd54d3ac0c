"""What is kept of the looks at a comparison."""

import itertools
import math
import re

import pytest

from pipelines.serving import step_records
from pipelines.serving.canary import Outcome
from pipelines.serving.declarations import NOTHING
from pipelines.serving.evidence_curves import MAX_LOOKS, EvidenceCurves, LogOdds
from pipelines.serving.live_comparison import LiveComparison, Phase
from tests.serving.routed_rows import CONFIG, ROUTES, START, Change, every, rows


def watch(change: Change | None = None) -> LiveComparison:
    """A canary on 600 requests, looked at after each ten."""
    requests = rows(600, change) if change else rows(600)
    comparison = LiveComparison(CONFIG, NOTHING, history=[])
    comparison.begin(Phase(START, ROUTES))
    for end in range(10, 610, 10):
        comparison.add(requests[:end], {})
        comparison.judge()
    return comparison


def test_a_harm_that_is_found_crosses_its_threshold_and_an_equal_release_does_not() -> None:
    slow = watch(every(1, total_ms=400.0)).curves.plots()
    [latency] = [plot for plot in slow if plot.title == "time to the answer"]
    against, in_favour = latency.curves
    assert against.is_against
    assert against.threshold == math.log10(6 / CONFIG.false_rollback_rate)
    assert against.points[-1][1] > against.threshold
    assert in_favour.points[-1][1] < in_favour.threshold
    for plot in watch().curves.plots():
        assert plot.curves[0].points[-1][1] < plot.curves[0].threshold, plot.title


def test_the_last_point_is_the_evidence_of_the_last_look_and_marks_are_the_shares() -> None:
    comparison = watch()
    outcome = Outcome(comparison.judge().report, plots=comparison.curves.plots())
    step = step_records.of_canary(outcome, CONFIG)
    assert [mark.label for mark in step.plots[0].marks] == [f"{ROUTES[-1][1]:.0%}"]
    observed = step.checks[0].observed
    last = 10 ** step.plots[0].curves[0].points[-1][1]
    [words] = re.findall(r"worse: ([\d.,]+) to 1", observed)
    assert float(words.replace(",", "")) == pytest.approx(last, rel=0.05)
    assert f"at most {CONFIG.false_rollback_rate:.2%}" in step.error_rates[0]


def test_a_canary_of_any_length_keeps_a_bounded_number_of_looks_over_all_of_it() -> None:
    curves = EvidenceCurves(CONFIG)
    for num in range(100_000):
        curves.add(num, {"failed requests": LogOdds(num / 1000)})
    [plot] = curves.plots()
    [curve] = plot.curves
    assert MAX_LOOKS / 4 < len(curve.points) <= MAX_LOOKS + 2
    assert curve.points[0][0] == 0
    assert curve.points[-1][0] == 99_999
    numbers = [num for num, _ in curve.points]
    gaps = [later - earlier for earlier, later in itertools.pairwise(numbers)]
    assert max(gaps) < 100_000 / MAX_LOOKS * 8


def test_looks_at_nothing_new_add_no_points() -> None:
    curves = EvidenceCurves(CONFIG)
    for _ in range(50):
        curves.add(3, {"failed requests": LogOdds(0.5)})
    [plot] = curves.plots()
    assert len(plot.curves[0].points) == 2


def test_before_the_first_look_there_is_nothing_to_draw() -> None:
    assert EvidenceCurves(CONFIG).plots() == []
