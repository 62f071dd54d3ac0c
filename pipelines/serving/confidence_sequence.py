"""An interval for the difference of two releases that holds at every look at once.

For each margin on a grid two gamblers bet (see sequential_test): that the difference is above it,
and that it is below. A margin against which one of them has won too much is no longer in the
interval. The chance that the true difference ever leaves it is at most 1 - confidence, whenever and
however often one looks.

Source: Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting,
J. R. Stat. Soc. B 86, section 4 (confidence sequences by inverting tests).
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipelines.serving.sequential_test import Assignment, Claim, Evidence, Numbers, update

MARGINS: Numbers = np.linspace(-1.0, 1.0, 401)
BOTH_SIDES = 2  # one test each


class Interval(NamedTuple):
    """Where the difference lies, new minus old, shape (...)."""

    low: Numbers
    high: Numbers


@dataclass(frozen=True)
class ConfidenceSequence:
    """Evidence against each margin, shape (..., margins), and the interval so far."""

    confidence: float
    above: Evidence
    below: Evidence
    interval: Interval

    @classmethod
    def start(cls, confidence: float, shape: tuple[int, ...] = ()) -> "ConfidenceSequence":
        evidence = Evidence.start(np.zeros(0), (*shape, MARGINS.size))
        interval = Interval(np.full(shape, -1.0), np.full(shape, 1.0))
        return cls(confidence, evidence, evidence, interval)

    def after(self, value: Numbers, assignment: Assignment) -> "ConfidenceSequence":
        """With the value (0 to 1) of one more asker, whose release a draw has chosen."""
        column = np.asarray(value)[..., None]
        pick = Assignment(*(np.asarray(part)[..., None] for part in assignment))
        swap = Assignment(1 - pick.is_new, 1 - pick.share, pick.weight)
        above = update(self.above, Claim(1, MARGINS), column, pick)
        # That new minus old is below a margin is that old minus new is above its negative.
        below = update(self.below, Claim(1, -MARGINS), column, swap)
        return replace(self, above=above, below=below, interval=self._narrow(above, below))

    def _narrow(self, above: Evidence, below: Evidence) -> Interval:
        """Margins that are refuted now stay refuted."""
        min_odds = math.log(BOTH_SIDES / (1 - self.confidence))
        is_too_low = np.logical_and.accumulate(above.log_odds() >= min_odds, axis=-1)
        is_too_high = below.log_odds() >= min_odds
        is_too_high = np.logical_and.accumulate(is_too_high[..., ::-1], axis=-1)[..., ::-1]
        low = np.where(is_too_low, MARGINS, -1.0).max(axis=-1)
        high = np.where(is_too_high, MARGINS, 1.0).min(axis=-1)
        return Interval(np.maximum(self.interval.low, low), np.minimum(self.interval.high, high))
