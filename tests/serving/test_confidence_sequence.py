"""The interval of an experiment holds at every look, and narrows."""

import numpy as np
import pytest

from pipelines.serving.confidence_sequence import ConfidenceSequence, Interval
from pipelines.serving.sequential_test import Assignment, Numbers

NUM_EXPERIMENTS = 100
NUM_ASKERS = 300
ONE = np.asarray(1.0)


def run(old: float, new: float, share: float, confidence: float) -> tuple[Numbers, Numbers]:
    """Whether the true difference ever left the interval, and the last width, by experiment."""
    generator = np.random.default_rng(7)
    shape = (NUM_EXPERIMENTS,)
    sequence = ConfidenceSequence.start(confidence, shape)
    has_left = np.zeros(shape, dtype=bool)
    for _ in range(NUM_ASKERS):
        is_new = (generator.random(shape) < share).astype(float)
        chance = np.where(is_new == 1, new, old)
        value = (generator.random(shape) < chance).astype(float)
        sequence = sequence.after(value, Assignment(is_new, np.full(shape, share), np.ones(shape)))
        low, high = sequence.interval
        has_left |= (low > new - old) | (high < new - old)
    return has_left, high - low


@pytest.mark.parametrize(("old", "new", "share"), [(0.3, 0.3, 0.5), (0.5, 0.2, 0.3)])
def test_the_true_difference_rarely_leaves_the_interval_at_any_look(
    old: float, new: float, share: float
) -> None:
    has_left, width = run(old, new, share, confidence=0.8)
    # At 0.2 each, 100 experiments give 32 or fewer in 998 of 1,000 cases.
    assert has_left.sum() <= 32
    assert np.median(width) < 0.6


def test_no_interval_before_the_first_asker() -> None:
    assert ConfidenceSequence.start(0.95).interval == Interval(np.asarray(-1.0), np.asarray(1.0))


def test_a_large_difference_is_soon_found() -> None:
    sequence = ConfidenceSequence.start(0.95)
    for number in range(60):
        is_new = np.asarray(float(number % 2))
        sequence = sequence.after(is_new, Assignment(is_new, np.asarray(0.5), ONE))
    assert sequence.interval.low > 0
