"""How often the gate accepts candidates that are worse than their champion by a known drop.

2,000 candidates of each kind (gate_candidates.py) are judged by the rules of the real gate against
the champion, with the intervals that `evaluate` makes; and what the verdict promises about its
power is compared with what happens to as many. Needs the answers of a run, `data/answers.parquet`.

    .venv/bin/python -m pytest tests/bench/test_gate_power.py -s -o norecursedirs=
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from scipy.optimize import brentq

from pipelines.config import params
from pipelines.config.gate import GateConfig
from pipelines.contracts.answers import RETRIEVAL
from pipelines.contracts.scores import CANDIDATE, CHAMPION, Interval, Scores, System
from pipelines.decision import power, rules
from tests.bench import gate_candidates
from tests.bench.gate_candidates import Case, GoldenSet, Recording

NUM_CANDIDATES = 2000
SEED = 7
TOLERANCE = 0.03
MARGINS = (0.05, 0.08, 0.1)
AS_GOOD = Case("as good")
# With the share of candidates that the gate may accept, at least and at most.
CASES = (
    (AS_GOOD, 0.75, 1.0),
    (Case("0.02 worse", drop=0.02), 0.5, 0.75),
    (Case("0.05 worse", drop=0.05), 0.05, 0.25),
    (Case("0.10 worse", drop=0.10), 0.0, 0.02),
    (Case("largest page collapses", collapse="page"), 0.0, 0.25),
    (Case("largest style collapses", collapse="style"), 0.0, 0.02),
)
SLICES_RULE = "no slice falls behind the champion"


@pytest.fixture(scope="module")
def recording() -> Recording:
    recording = gate_candidates.read()
    if recording is None:
        pytest.skip(f"needs the answers of a run ({gate_candidates.RUN}): `make run` first")
    return recording


@cache
def gate() -> GateConfig:
    return params.load().section(GateConfig)


def compared() -> list[str]:
    """What two trainings on one index differ in; they retrieve the same passages."""
    return [metric for metric in gate().champion_metrics if metric not in RETRIEVAL]


def judge(
    golden: GoldenSet, case: Case, generator: np.random.Generator, *, seed: int
) -> list[dict[str, bool]]:
    """Which rules about the champion pass, by name: with clusters, then without."""
    config = gate().model_copy(update={"champion_metrics": compared()})
    metrics = list(dict.fromkeys([*compared(), "exact_match"]))
    candidate = gate_candidates.answer(golden, case, metrics, generator)
    slices = {
        CANDIDATE: gate_candidates.slices(candidate, config.min_slice_questions),
        CHAMPION: gate_candidates.slices(golden.champion, config.min_slice_questions),
    }
    outcomes: list[dict[str, bool]] = []
    for is_clustered in (True, False):
        differences: dict[str, Interval] = {}
        for metric in compared():
            differences[metric] = gate_candidates.compare(
                golden, candidate, metric, is_clustered=is_clustered, seed=seed
            )
        scores = Scores(
            candidate="simulated",
            champion="champion",
            num_questions=len(candidate),
            golden_digest="drawn",
            systems={name: System(metrics={}, slices=slices[name]) for name in slices},
            differences={CHAMPION: differences},
        )
        verdict = rules.judge(config, scores, [], "champion", [])
        outcomes.append({rule.name: rule.passed for rule in verdict.rules})
    return outcomes


def rule_names() -> list[str]:
    return [*(f"not worse than the champion in {metric}" for metric in compared()), SLICES_RULE]


def shares_passed(recording: Recording, case: Case) -> list[dict[str, float]]:
    """Of the candidates, by rule and by all rules together: with clusters, then without."""
    generator = np.random.default_rng(SEED)
    counts = [dict.fromkeys([*rule_names(), "all"], 0) for _ in range(2)]
    for number in range(NUM_CANDIDATES):
        golden = recording.draw(generator)
        for count, outcome in zip(counts, judge(golden, case, generator, seed=number), strict=True):
            for name in rule_names():
                count[name] += outcome[name]
            count["all"] += all(outcome[name] for name in rule_names())
    return [{name: number / NUM_CANDIDATES for name, number in count.items()} for count in counts]


@pytest.mark.parametrize(
    ("case", "least", "most"), CASES, ids=lambda value: getattr(value, "name", str(value))
)
def test_acceptance_with_and_without_clusters(
    recording: Recording, case: Case, least: float, most: float
) -> None:
    by_cluster, by_question = shares_passed(recording, case)
    cells = [f"{name} {by_cluster[name]:.1%} ({by_question[name]:.1%})" for name in by_cluster]
    print(
        f"\n{case.name}: {len(recording.answers)} questions in {len(recording.clusters)} topics "
        f"and pages, margin {gate().champion_margin}; passed with clusters (without):"
    )
    print("; ".join(cells))
    assert least <= by_cluster["all"] <= most


def differences(recording: Recording, metric: str, case: Case) -> list[Interval]:
    """Of simulated candidates from their champions, with the intervals that `evaluate` makes."""
    generator = np.random.default_rng(SEED)
    intervals: list[Interval] = []
    for number in range(NUM_CANDIDATES):
        golden = recording.draw(generator)
        candidate = gate_candidates.answer(golden, case, [metric], generator)
        intervals.append(
            gate_candidates.compare(golden, candidate, metric, is_clustered=True, seed=number)
        )
    return intervals


def share_refused(intervals: Sequence[Interval], margin: float) -> float:
    """By the rule about the champion."""
    return float(np.mean([low(interval) < -margin for interval in intervals]))


def low(interval: Interval) -> float:
    assert interval.low is not None
    return interval.low


def mean(numbers: Sequence[float]) -> float:
    return float(np.mean(numbers))


@pytest.fixture(scope="module")
def equals(recording: Recording) -> dict[str, list[Interval]]:
    """The differences of candidates that are as good as their champions, by metric."""
    return {metric: differences(recording, metric, AS_GOOD) for metric in compared()}


@pytest.mark.parametrize("margin", MARGINS)
def test_a_drop_of_the_size_that_the_verdict_names_is_found_8_times_of_10(
    recording: Recording, equals: dict[str, list[Interval]], margin: float
) -> None:
    for metric, intervals in equals.items():
        drop = mean([power.drop_that_fails(margin, interval) for interval in intervals])
        found = share_refused(differences(recording, metric, Case("", drop)), margin)
        print(f"\n{metric}, margin {margin}: a drop of {drop:.3f} is found {found:.1%}", flush=True)
        assert found == pytest.approx(0.8, abs=TOLERANCE)


@pytest.mark.parametrize("margin", MARGINS)
def test_as_many_equal_candidates_are_refused_as_the_verdict_says(
    equals: dict[str, list[Interval]], margin: float
) -> None:
    for metric, intervals in equals.items():
        chances = [power.chance_of_false_refusal(margin, interval) for interval in intervals]
        refused = share_refused(intervals, margin)
        print(f"\n{metric}, margin {margin}: {refused:.1%} refused, {mean(chances):.1%} promised")
        assert refused == pytest.approx(mean(chances), abs=TOLERANCE)


def test_a_model_passes_a_floor_as_often_as_the_verdict_says(recording: Recording) -> None:
    """With the floor of which the verdict says that this model's level passes it 8 times of 10."""
    for metric in gate().floors:
        level = float(recording.answers[metric].mean())
        if level == 1:
            continue  # has no spread, and passes every floor
        intervals = levels(recording, metric)
        counts = [power.independent_questions(interval) for interval in intervals]
        nums = [num for num in counts if num is not None]
        floor = floor_passed_by(level, nums)
        lows = np.array([low(interval) for interval in intervals])
        passed = float(np.mean(lows >= floor))
        by_chance = float(np.mean(lows >= level))
        promised = mean([power.chance_at_floor(level, num) for num in nums])
        print(
            f"\n{metric}: {level:.3f} passes the floor {floor:.3f} {passed:.1%}, and the floor "
            f"{level:.3f} {by_chance:.1%}, {promised:.1%} promised"
        )
        assert passed == pytest.approx(0.8, abs=TOLERANCE)
        assert by_chance == pytest.approx(promised, abs=TOLERANCE)


def floor_passed_by(level: float, nums: Sequence[float]) -> float:
    """The floor that such a model passes 8 times of 10, as the verdicts say on average."""

    def excess(floor: float) -> float:
        return mean([power.level_that_passes(floor, num) for num in nums]) - level

    return float(brentq(excess, 0.01, level))


def levels(recording: Recording, metric: str) -> list[Interval]:
    """A metric of the recorded model on golden sets that are drawn anew."""
    generator = np.random.default_rng(SEED)
    intervals: list[Interval] = []
    for number in range(NUM_CANDIDATES):
        golden = recording.draw(generator)
        values = golden.champion[metric].to_numpy(dtype=float)
        intervals.append(gate_candidates.interval(golden, values, is_clustered=True, seed=number))
    return intervals
