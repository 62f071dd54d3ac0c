"""Bets on requests: nobody gains on a release that is not worse, whenever one looks."""

import numpy as np
import pytest

from pipelines.serving.sequential_test import (
    Assignment,
    Claim,
    Evidence,
    Numbers,
    SlowTime,
    update,
    update_alone,
    update_paired,
    weigh,
)

NUM_CANARIES = 2000


def highest_odds(values: Numbers, is_new: Numbers, share: float, claim: Claim) -> Numbers:
    """The strongest evidence that each canary showed. Inputs have shape (requests, canaries)."""
    shape = (values.shape[1],)
    evidence = Evidence.start(np.zeros(0), shape)
    highest = np.zeros(shape)
    for value, new in zip(values, is_new, strict=True):
        assignment = Assignment(new, np.full(shape, share), np.ones(shape))
        evidence = update(evidence, claim, value, assignment)
        highest = np.maximum(highest, np.exp(evidence.log_odds()))
    return highest


def draw(share: float, rate_new: float, rate_old: float, count: int) -> tuple[Numbers, Numbers]:
    generator = np.random.default_rng(7)
    shape = (count, NUM_CANARIES)
    is_new = (generator.random(shape) < share).astype(np.float64)
    rate = np.where(is_new == 1, rate_new, rate_old)
    return (generator.random(shape) < rate).astype(np.float64), is_new


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize(("rate_new", "rate_old"), [(0.2, 0.2), (0.01, 0.01), (0.25, 0.2)])
def test_odds_of_20_to_1_against_a_release_that_is_not_worse_come_up_once_in_20(
    share: float, rate_new: float, rate_old: float
) -> None:
    values, is_new = draw(share, rate_new, rate_old, 200)
    claim = Claim(1, margin=rate_new - rate_old)
    assert np.mean(highest_odds(values, is_new, share, claim) >= 20) <= 0.05


def test_odds_that_a_harmful_release_is_harmless_come_up_as_seldom() -> None:
    values, is_new = draw(0.5, 0.4, 0.2, 200)
    assert np.mean(highest_odds(values, is_new, 0.5, Claim(-1, margin=0.2)) >= 20) <= 0.05


def test_the_bound_holds_when_requests_come_in_long_rows_of_the_same_kind() -> None:
    """An asker's questions are not independent; the router's hash is."""
    generator = np.random.default_rng(7)
    blocks = (generator.random((10, NUM_CANARIES)) < 0.5).astype(np.float64)
    values = np.repeat(blocks, 20, axis=0)
    is_new = (generator.random(values.shape) < 0.5).astype(np.float64)
    assert np.mean(highest_odds(values, is_new, 0.5, Claim(1, margin=0.0)) >= 20) <= 0.05


def test_a_worse_release_is_nearly_always_found() -> None:
    values, is_new = draw(0.5, 0.6, 0.1, 200)
    assert np.mean(highest_odds(values, is_new, 0.5, Claim(1, margin=0.05)) >= 600) >= 0.95


def test_a_value_that_does_not_apply_changes_nothing() -> None:
    assignment = Assignment(np.asarray(1.0), np.asarray(0.5), np.asarray(1.0))
    before = Evidence.start(np.array([0.0, 1.0]))
    after = update(before, Claim(1, 0.0), np.asarray(np.nan), assignment)
    assert (after.log_wealth == before.log_wealth).all()
    assert (after.forecast, after.num_values) == (before.forecast, before.num_values)


def test_a_release_that_answers_everything_gives_no_evidence_in_a_comparison() -> None:
    assignment = Assignment(np.asarray(1.0), np.asarray(1.0), np.asarray(1.0))
    after = update(Evidence.start(np.zeros(9)), Claim(1, 0.0), np.asarray(1.0), assignment)
    assert after.log_odds() == 0


def test_failures_beyond_a_known_share_are_found_alone() -> None:
    evidence = Evidence.start(np.zeros(0))
    for _ in range(5):
        evidence = update_alone(evidence, np.asarray(0.05), np.asarray(1.0))
    assert evidence.log_odds() > np.log(600)
    for _ in range(20):
        evidence = update_alone(Evidence.start(np.zeros(0)), np.asarray(0.05), np.asarray(0.0))
    assert evidence.log_odds() < 0


def test_the_time_that_is_slow_follows_the_answers() -> None:
    generator = np.random.default_rng(7)
    slow = SlowTime.start(np.exp(generator.normal(5.0, 0.5, 300)))
    times = generator.normal(6.0, 0.5, 400)
    flags: list[float] = []
    for time in times:
        flags.append(float(slow.is_slow(np.asarray(time))))
        slow = slow.after(np.asarray(time))
    assert np.mean(flags[:20]) > 0.3
    assert np.mean(flags[100:]) == pytest.approx(0.1, abs=0.04)
    assert np.isnan(slow.is_slow(np.asarray(np.nan)))


def test_an_asker_beyond_the_share_weighs_less_the_more_they_send() -> None:
    num_own = np.array([0.0, 10.0, 20.0, 50.0])
    assert weigh(num_own, np.asarray(100.0), 0.2) == pytest.approx([1.0, 1.0, 1.0, 0.4])


def highest_paired_odds(differences: Numbers, claim: Claim) -> Numbers:
    """The strongest evidence of each shadow. `differences` has shape (pairs, shadows)."""
    shape = (differences.shape[1],)
    evidence = Evidence.start(np.zeros(0), shape)
    highest = np.zeros(shape)
    for difference in differences:
        evidence = update_paired(evidence, claim, difference, np.ones(shape))
        highest = np.maximum(highest, np.exp(evidence.log_odds()))
    return highest


@pytest.mark.parametrize(("worse", "better"), [(0.3, 0.3), (0.02, 0.02), (0.15, 0.1), (0.05, 0.0)])
def test_pairs_speak_20_to_1_against_a_release_that_is_not_worse_once_in_20(
    worse: float, better: float
) -> None:
    generator = np.random.default_rng(7)
    dice = generator.random((300, NUM_CANARIES))
    differences = np.where(dice < worse, 1.0, np.where(dice > 1 - better, -1.0, 0.0))
    margin = worse - better
    assert np.mean(highest_paired_odds(differences, Claim(1, margin)) >= 20) <= 0.05
    assert np.mean(highest_paired_odds(differences, Claim(-1, margin)) >= 20) <= 0.05


def test_pairs_find_harm_and_harmlessness_and_ignore_what_does_not_apply() -> None:
    harm = np.where(np.arange(400) % 5 == 0, 1.0, 0.0)[:, None]
    assert highest_paired_odds(harm, Claim(1, 0.05)) > 600
    assert highest_paired_odds(0 * harm, Claim(-1, 0.1)) > 600
    assert highest_paired_odds(np.full((50, 1), np.nan), Claim(1, 0.05)) == 1
