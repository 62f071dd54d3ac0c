"""Evidence, growing with each request, about how two releases differ: bets that nobody can win.

A gambler bets on every request, before its outcome is known, that the new release is worse than it
may be. If it is not, no bet gains on average, so the wealth exceeds 600 times its start with a
chance of at most 1 in 600, *whenever one looks* (Ville 1939). So there is no number of requests to
wait for, and looking every second costs nothing. A second gambler bets that the release is less bad
than what must be found.

What makes the bets fair is the routing alone: a draw decides which release answers, and its chance
is known. Nothing is assumed about the requests: their mix may drift, the machine may get slower for
both releases, and a single asker may send half of them. The bound is exact for releases that answer
alike. For a release that differs within what is tolerated it holds but for two small effects, which
tests/bench/test_canary_power.py measures: its answers may reach the log later, and it may leave out
other answers of a measure that not all answers have.

Where both releases have answered the same question, the bets are on the difference of the two
outcomes (`update_paired`), which is why pairs tell more than as many requests.

Sources: wealth as evidence about a bounded mean, and a mixture of bets, are from Waudby-Smith and
Ramdas (2024), Estimating means of bounded random variables by betting, J. R. Stat. Soc. B 86. Bets
on a randomisation of known probability, whatever the outcomes, are from Ham, Bojinov, Lindon and
Tingley (2022), Design-based confidence sequences: a general approach to risk mitigation in online
experimentation. Outcomes are centred by a forecast from earlier requests (augmented inverse
probability weighting; Robins, Rotnitzky and Zhao 1994), which makes a share of 5 % usable.

All functions also take arrays: one element each for many canaries at once.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
# Gamblers of different courage share the start; the mean of their wealth counts. The best for a
# difference d of values with variance v is d / v: 0.1 for trifles, 25.6 for a total failure.
COURAGES: Numbers = 0.1 * np.exp2(np.arange(9.0))
# The stakes on pairs, as shares of the one that loses everything at the worst difference.
PAIRED_STAKES: Numbers = np.linspace(0.1, 0.9, COURAGES.size)
LARGEST_LOSS = 0.9  # share of the wealth that a single request can cost
MEMORY = 200  # requests over which the forecast of the next outcome is taken
SLOW_SHARE = 0.1  # of all answers are called slow
SLOW_STEP = 0.1  # by which the logarithm of the time that is slow follows the answers


class Assignment(NamedTuple):
    """How a request was routed, shape (...)."""

    is_new: Numbers  # 1: the new release answered, 0: the old one
    share: Numbers  # of requests that the new release answers at that time
    weight: Numbers  # from 0 to 1: how much of the stake is put on this request


class Claim(NamedTuple):
    """What is bet on: a difference of means, new minus old.

    `direction` 1: that it is above `margin`; -1: that it is below.
    """

    direction: int
    margin: "float | Numbers"


@dataclass(frozen=True)
class Evidence:
    """The logarithm of each gambler's wealth, shape (..., gamblers), and the forecast."""

    log_wealth: Numbers
    forecast: Numbers  # of the next value, shape (...)
    num_values: Numbers  # that the forecast rests on, at most MEMORY

    @classmethod
    def start(cls, history: Numbers, shape: tuple[int, ...] = ()) -> "Evidence":
        """No evidence yet. `history`: values of the old release before the comparison."""
        recent = history[-MEMORY:]
        return cls(
            log_wealth=np.zeros((*shape, COURAGES.size)),
            forecast=np.full(shape, recent.mean() if recent.size else 0.5),
            num_values=np.full(shape, float(recent.size)),
        )

    def log_odds(self) -> Numbers:
        """Logarithm of the mean wealth, shape (...): how many times its start it has become."""
        highest = self.log_wealth.max(axis=-1)
        shares = np.exp(self.log_wealth - highest[..., None]).mean(axis=-1)
        return np.asarray(highest + np.log(shares))


@dataclass(frozen=True)
class SlowTime:
    """The time that a tenth of all answers exceeds, as a logarithm of milliseconds."""

    log_ms: Numbers

    @classmethod
    def start(cls, history_ms: Numbers, shape: tuple[int, ...] = ()) -> "SlowTime":
        """`history_ms`: times of the old release's answers; 1 s if there are none."""
        recent = history_ms[-MEMORY:]
        slow_ms = np.quantile(recent, 1 - SLOW_SHARE) if recent.size else 1000.0
        return cls(np.full(shape, np.log(max(float(slow_ms), 0.1))))

    def is_slow(self, log_ms: Numbers) -> Numbers:
        """1 for a slow answer, 0 for another, NaN where nothing was answered."""
        return np.where(np.isnan(log_ms), np.nan, np.where(log_ms > self.log_ms, 1.0, 0.0))

    def after(self, log_ms: Numbers) -> "SlowTime":
        """Follows the answers (stochastic approximation; Robbins and Monro 1951)."""
        step = SLOW_STEP * (self.is_slow(log_ms) - SLOW_SHARE)
        return SlowTime(self.log_ms + np.where(np.isnan(step), 0.0, step))


def update(evidence: Evidence, claim: Claim, value: Numbers, assignment: Assignment) -> Evidence:
    """The evidence after a request with a value from 0 to 1, or NaN: does not apply."""
    is_present = ~np.isnan(value)
    usual = np.where(is_present, value, evidence.forecast)
    forecast = evidence.forecast
    share = assignment.share
    spread = share * (1 - share)
    signal = (assignment.is_new - share) * (usual - forecast)
    gain = claim.direction * (signal - spread * claim.margin)
    # The gambler loses most by an outcome that speaks for the other side.
    if claim.direction > 0:
        loss = np.maximum((1 - share) * forecast, share * (1 - forecast)) + spread * claim.margin
    else:
        loss = np.maximum((1 - share) * (1 - forecast), share * forecast)
    boldest = LARGEST_LOSS / np.maximum(loss, 1e-9)
    stake = np.minimum(COURAGES, boldest[..., None]) * assignment.weight[..., None]
    growth = np.log(1 + stake * gain[..., None])
    return _after(evidence, value, np.where(is_present[..., None], growth, 0.0))


def update_alone(evidence: Evidence, margin: Numbers, value: Numbers) -> Evidence:
    """Evidence that the mean is above `margin`, while one release answers everything.

    No draw makes these bets fair: they are if each value's mean is at most `margin`.
    """
    is_present = ~np.isnan(value)
    gain = np.where(is_present, value, margin) - margin
    stake = np.minimum(COURAGES, (LARGEST_LOSS / margin)[..., None])
    growth = np.log(1 + stake * gain[..., None])
    return _after(evidence, value, np.where(is_present[..., None], growth, 0.0))


def update_paired(
    evidence: Evidence, claim: Claim, difference: Numbers, weight: Numbers
) -> Evidence:
    """The evidence after a question that both releases have answered.

    `difference`: new minus old, from -1 to 1, or NaN: does not apply. The bets are fair if the mean
    difference is not what is claimed, whoever answers first being drawn by chance.
    """
    is_present = ~np.isnan(difference)
    usual = np.where(is_present, difference, claim.margin)
    gain = claim.direction * (usual - claim.margin)
    largest_loss = 1 + claim.direction * claim.margin
    stake = PAIRED_STAKES / max(largest_loss, 1e-9) * weight[..., None]
    growth = np.log(1 + stake * gain[..., None])
    return _after(evidence, difference, np.where(is_present[..., None], growth, 0.0))


def weigh(num_own: Numbers, num_all: Numbers, max_share: float) -> Numbers:
    """The weight of an asker's next request, by the requests so far: theirs and everybody's."""
    share = num_own / np.maximum(num_all, 1.0)
    return np.asarray(np.minimum(1.0, max_share / np.maximum(share, 1e-9)))


def _after(evidence: Evidence, value: Numbers, growth: Numbers) -> Evidence:
    is_present = ~np.isnan(value)
    step = 1 / (np.minimum(evidence.num_values, MEMORY - 1.0) + 1)
    change = np.where(is_present, value - evidence.forecast, 0.0) * step
    return replace(
        evidence,
        log_wealth=evidence.log_wealth + growth,
        forecast=evidence.forecast + change,
        num_values=np.minimum(evidence.num_values + is_present, MEMORY),
    )
