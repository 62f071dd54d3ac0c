"""Scores that the gate must refuse, each with its reason, beside some that it accepts."""

import math

import pytest

from pipelines.config.gate import GateConfig
from pipelines.contracts.scores import BASE, CANDIDATE, CHAMPION, FREQUENT, Interval, Scores
from pipelines.decision.rules import MISSING, judge, names
from pipelines.training import weights
from tests.decision.example_scores import (
    interval,
    scores,
    with_differences,
    with_metric,
    with_slice,
    with_system,
    without_system,
)

CONFIG = GateConfig(
    floors={"exact_match": 0.6, "hit_at_5": 0.7},
    min_gain_over_base=0.1,
    champion_metrics=["exact_match", "hit_at_5"],
    champion_margin=0.05,
    max_slice_drop=0.3,
    min_slice_score=0.3,
    min_questions=100,
    min_slice_questions=10,
    licences=["apache-2.0", "MIT"],
    package_licences=["Apache-2.0", "MIT"],
    package_exceptions={"odd": "we wrote it"},
)


def violations(subject: Scores, champion: str | None = None) -> list[str]:
    """Names of the rules that the scores break."""
    verdict = judge(CONFIG, subject, [], champion, [])
    names: list[str] = []
    for rule in verdict.rules:
        if not rule.passed:
            names.append(rule.name)
            reason = f"{rule.name}: {rule.observed}, expected {rule.expected}"
            assert reason in verdict.reason
    assert verdict.accepted is (not names)
    return names


def test_a_candidate_as_good_as_the_champion_is_accepted() -> None:
    assert violations(scores("c", match=0.8, champion=0.8), champion="r-1") == []
    assert violations(scores("c", match=0.9, champion=0.8), champion="r-1") == []


@pytest.mark.parametrize(("match", "base"), [(0.7, 0.9), (0.8, 0.8), (0.8, 0.67)])
def test_a_candidate_worse_than_the_base_model_or_hardly_better_is_refused(
    match: float, base: float
) -> None:
    assert violations(scores("c", match=match, base=base)) == ["better than the base model"]


def test_a_base_model_that_was_not_measured_is_a_refusal() -> None:
    without_differences = scores("c").model_copy(update={"differences": {}})
    assert violations(without_differences) == ["better than the base model"]
    assert violations(without_system(scores("c"), BASE)) == ["enough golden questions"]


def test_the_most_frequent_answer_must_be_beaten_without_overlap_and_must_be_measured() -> None:
    rule = "better than the most frequent answer"
    close = with_metric(scores("c"), FREQUENT, "exact_match", interval(0.73))
    assert violations(close) == [rule]
    assert violations(without_system(scores("c"), FREQUENT)) == [rule]


def test_a_candidate_worse_than_the_champion_is_refused() -> None:
    assert violations(scores("c", match=0.8, champion=0.9), champion="r-1") == [
        "not worse than the champion in exact_match"
    ]


def test_a_candidate_that_lost_a_metric_of_the_champion_is_refused() -> None:
    rule = "not worse than the champion in hit_at_5"
    good = scores("c", champion=0.8)
    worse = {"exact_match": interval(0.0), "hit_at_5": interval(-0.1)}
    assert violations(with_differences(good, CHAMPION, worse), champion="r-1") == [rule]
    incomplete = {"exact_match": interval(0.0)}
    assert violations(with_differences(good, CHAMPION, incomplete), champion="r-1") == [rule]


def test_missing_scores_of_a_released_champion_are_a_refusal() -> None:
    assert violations(scores("c"), champion="r-1") == [
        "champion",
        "not worse than the champion in exact_match",
        "not worse than the champion in hit_at_5",
        "no slice falls behind the champion",
    ]


def test_scores_of_another_champion_and_of_one_that_was_never_released_are_a_refusal() -> None:
    assert violations(scores("c", champion=0.8), champion="r-2") == ["champion"]
    assert violations(scores("c", champion=0.8), champion=None) == ["champion"]


@pytest.mark.parametrize("name", ["exact_match", "hit_at_5"])
def test_a_metric_below_its_floor_at_the_lower_end_is_refused(name: str) -> None:
    wide = Interval(value=0.75, low=0.59, high=0.9, num=120)
    assert violations(with_metric(scores("c"), CANDIDATE, name, wide)) == [f"floor {name}"]


def test_a_missing_metric_is_refused() -> None:
    good = scores("c")
    candidate = good.systems[CANDIDATE]
    metrics = {"exact_match": candidate.metrics["exact_match"]}
    incomplete = candidate.model_copy(update={"metrics": metrics})
    assert violations(with_system(good, CANDIDATE, incomplete)) == ["floor hit_at_5"]


def test_a_null_metric_is_refused() -> None:
    without_questions = Interval(value=None, low=None, high=None, num=0)
    assert violations(with_metric(scores("c"), CANDIDATE, "hit_at_5", without_questions)) == [
        "floor hit_at_5"
    ]
    without_value = Interval(value=None, low=None, high=None, num=120)
    assert violations(with_metric(scores("c"), CANDIDATE, "hit_at_5", without_value)) == [
        "metrics are in range",
        "floor hit_at_5",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        Interval(value=1.5, low=1.4, high=1.6, num=120),
        Interval(value=-0.1, low=-0.2, high=0.9, num=120),
        Interval(value=0.9, low=0.95, high=0.99, num=120),
        Interval(value=0.9, low=0.8, high=0.85, num=120),
        Interval(value=0.9, low=0.8, high=None, num=120),
        Interval(value=math.nan, low=0.8, high=0.9, num=120),
        Interval(value=0.9, low=0.8, high=math.inf, num=120),
    ],
)
def test_a_metric_out_of_range_is_refused_in_any_system_or_slice(wrong: Interval) -> None:
    rule = "metrics are in range"
    good = scores("c", champion=0.8)
    in_candidate = with_metric(good, CANDIDATE, "hit_at_5", wrong)
    assert violations(in_candidate, champion="r-1") == [rule, "floor hit_at_5"]
    in_base = with_metric(good, BASE, "hit_at_5", wrong)
    assert violations(in_base, champion="r-1") == [rule]
    in_slice = with_slice(good, CANDIDATE, "style:typo", wrong)
    assert rule in violations(in_slice, champion="r-1")
    in_champions_slice = with_slice(good, CHAMPION, "style:typo", wrong)
    assert rule in violations(in_champions_slice, champion="r-1")


@pytest.mark.parametrize(
    "wrong",
    [
        Interval(value=7.0, low=7.0, high=7.0, num=120),
        Interval(value=math.nan, low=0.5, high=0.9, num=120),
        Interval(value=0.9, low=0.8, high=math.inf, num=120),
    ],
)
def test_a_difference_out_of_range_is_refused(wrong: Interval) -> None:
    subject = with_differences(scores("c"), BASE, {"exact_match": wrong})
    assert violations(subject) == ["metrics are in range"]


def test_scores_without_any_system_break_every_rule_that_looks_at_them() -> None:
    empty = Scores(
        candidate="c", champion=None, num_questions=0, golden_digest="g", systems={}, differences={}
    )
    assert violations(empty) == [
        "enough golden questions",
        "metrics are in range",
        "floor exact_match",
        "floor hit_at_5",
        "better than the base model",
        "better than the most frequent answer",
        "no slice collapses",
    ]


def test_too_few_questions_are_refused_whichever_number_says_so() -> None:
    rule = "enough golden questions"
    assert violations(scores("c").model_copy(update={"num_questions": 99})) == [rule]
    few_of_candidate = with_metric(scores("c"), CANDIDATE, "exact_match", interval(0.8, 99))
    assert violations(few_of_candidate) == [rule]
    none_of_base = with_metric(scores("c"), BASE, "exact_match", MISSING)
    assert violations(none_of_base) == [rule]
    sample_of_base = with_metric(scores("c"), BASE, "exact_match", interval(0.1, 99))
    assert violations(sample_of_base) == []


def test_a_collapsed_slice_is_refused_and_named_unless_it_has_too_few_questions() -> None:
    low = with_slice(scores("c"), CANDIDATE, "style:typo", interval(0.2, 40))
    verdict = judge(CONFIG, low, [], None, [])
    (rule,) = [rule for rule in verdict.rules if not rule.passed]
    assert rule.name == "no slice collapses"
    assert rule.observed == "1 of 1 slices"
    assert rule.examples == ["style:typo 0.200 [0.16, 0.24]"]
    assert not verdict.accepted
    small = with_slice(scores("c"), CANDIDATE, "style:other", interval(0.2, 9))
    assert violations(small) == []


def test_a_candidate_whose_slices_are_all_too_small_or_missing_is_refused() -> None:
    good = scores("c")
    without_slices = good.systems[CANDIDATE].model_copy(update={"slices": {}})
    assert violations(with_system(good, CANDIDATE, without_slices)) == ["no slice collapses"]
    small = with_slice(good, CANDIDATE, "style:typo", interval(0.8, 9))
    assert violations(small) == ["no slice collapses"]


def test_a_slice_that_falls_far_behind_the_champions_is_refused_and_a_new_slice_is_not() -> None:
    good = scores("c", champion=0.8)
    fallen = with_slice(good, CANDIDATE, "style:typo", interval(0.45, 40))
    assert violations(fallen, champion="r-1") == ["no slice falls behind the champion"]
    new = with_slice(good, CANDIDATE, "style:new", interval(0.45, 40))
    assert violations(new, champion="r-1") == []


@pytest.mark.parametrize(("num_right", "is_refused"), [(6, False), (3, False), (1, True)])
def test_a_small_slice_falls_behind_only_by_more_than_chance_explains(
    num_right: int, is_refused: bool
) -> None:
    """Ten questions, of which the champion had all: 35 slices are looked at."""
    good = scores("c", champion=0.8)
    for number in range(34):
        good = with_slice(good, CANDIDATE, f"page:{number}", interval(0.8, 10))
    good = with_slice(good, CHAMPION, "page:0", interval(1.0, 10))
    candidate = with_slice(good, CANDIDATE, "page:0", interval(num_right / 10, 10))
    rule = "no slice falls behind the champion"
    assert (rule in violations(candidate, champion="r-1")) == is_refused


def test_the_names_of_all_rules_are_those_of_a_verdict_with_a_champion() -> None:
    verdict = judge(CONFIG, scores("c"), [], "r-1", [])
    assert {rule.name for rule in verdict.rules} <= set(names(CONFIG))
    evidence_rules = {"data validation passed", "no golden question in training"}
    assert evidence_rules | set(weights.CHECK_NAMES) < set(names(CONFIG))
