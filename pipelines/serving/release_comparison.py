"""Compares what two releases do on live traffic, request by request, while both answer.

Each comparison has two bets (see sequential_test): that the new release is worse than is tolerated,
and that it is less bad than what must be found.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from pipelines.config.canary import CanaryConfig, Limit
from pipelines.serving.sequential_test import (
    Assignment,
    Claim,
    Evidence,
    Numbers,
    SlowTime,
    update,
    update_alone,
)

Values = dict["Measure", Numbers]  # of a request; NaN: does not apply
RARE = 3  # failures that may be the old release's although none was seen (the rule of three)


class Measure(StrEnum):
    """What is compared; the names are those in canary.limits."""

    FAILURES = "failures"  # 1: failed, 0: answered
    LATENCY = "latency"  # natural logarithm of the milliseconds to the answer
    REFUSALS = "refusals"  # 1: the answer refuses, 0: it does not
    GROUNDEDNESS = "groundedness"  # what is missing: 1 - groundedness
    THUMBS = "thumbs"  # 1: thumb down, 0: thumb up


# Failures and slowness are the release's, whoever asks; answers may suit one asker alone.
BY_ASKER = (Measure.REFUSALS, Measure.GROUNDEDNESS, Measure.THUMBS)
# Without these a release is undecided; thumbs are too rare to wait for.
ESSENTIAL = (Measure.FAILURES, Measure.LATENCY, Measure.REFUSALS, Measure.GROUNDEDNESS)
NUM_TESTS = len(Measure) + 1  # the last step tests failures without the old release


class Declaration(NamedTuple):
    """Changes that were declared with the release; None: not declared."""

    latency_ratio: float | None = None
    refused_increase: float | None = None


class Tally(NamedTuple):
    """Values that were compared: how many, and their sum, shape (...)."""

    num: Numbers
    total: Numbers

    def add(self, value: Numbers, counts: Numbers) -> "Tally":
        """`counts`: 1 where the value is this release's."""
        is_counted = np.where(np.isnan(value), 0.0, counts)
        return Tally(self.num + is_counted, self.total + is_counted * np.nan_to_num(value))

    def mean(self) -> float:
        return float(self.total / self.num) if self.num else math.nan


@dataclass(frozen=True)
class Bet:
    """One claim about a measure. `slow`: for latency, the times as they would be at the limit."""

    claim: Claim
    evidence: Evidence
    slow: SlowTime | None = None
    log_ratio: float = 0.0  # by which the new release's times are log_ms first

    def after(self, value: Numbers, assignment: Assignment) -> "Bet":
        if self.slow is None:
            return replace(self, evidence=update(self.evidence, self.claim, value, assignment))
        log_ms = value - assignment.is_new * self.log_ratio
        is_slow = self.slow.is_slow(log_ms)
        return replace(
            self,
            evidence=update(self.evidence, self.claim, is_slow, assignment),
            slow=self.slow.after(log_ms),
        )


@dataclass(frozen=True)
class Comparison:
    """One measure of both releases."""

    measure: Measure
    limit: Limit
    worse: Bet
    harmless: Bet
    new: Tally
    old: Tally

    @classmethod
    def start(
        cls, measure: Measure, limit: Limit, history: Numbers, shape: tuple[int, ...] = ()
    ) -> "Comparison":
        """`history`: values of the old release before the comparison."""
        zeros = np.zeros(shape)
        tally = Tally(zeros, zeros)
        worse = _bet(measure, 1, limit.tolerate, history, shape)
        harmless = _bet(measure, -1, limit.find, history, shape)
        return cls(measure, limit, worse, harmless, tally, tally)

    def after(self, value: Numbers, assignment: Assignment) -> "Comparison":
        """With one more request."""
        if self.measure not in BY_ASKER:
            assignment = assignment._replace(weight=np.ones_like(assignment.weight))
        is_compared = assignment.share < 1
        return replace(
            self,
            worse=self.worse.after(value, assignment),
            harmless=self.harmless.after(value, assignment),
            new=self.new.add(value, assignment.is_new * is_compared),
            old=self.old.add(value, (1 - assignment.is_new) * is_compared),
        )


@dataclass(frozen=True)
class FullLoad:
    """Failures of the new release while it answers everything, against those of both before."""

    evidence: Evidence
    tally: Tally

    @classmethod
    def start(cls, shape: tuple[int, ...] = ()) -> "FullLoad":
        zeros = np.zeros(shape)
        return cls(Evidence.start(np.zeros(0), shape), Tally(zeros, zeros))

    def after(self, value: Numbers, limit: Numbers) -> "FullLoad":
        """`limit`: the share of failures that is tolerated."""
        return FullLoad(
            update_alone(self.evidence, limit, value), self.tally.add(value, np.ones_like(value))
        )


def limits(config: CanaryConfig, declaration: Declaration) -> Mapping[Measure, Limit]:
    """The limit of each measure, with what was declared."""
    by_measure = {measure: getattr(config.limits, measure) for measure in Measure}
    if declaration.latency_ratio is not None:
        limit = by_measure[Measure.LATENCY]
        changes = {
            "tolerate": declaration.latency_ratio,
            "find": declaration.latency_ratio * limit.find / limit.tolerate,
        }
        by_measure[Measure.LATENCY] = limit.model_copy(update=changes)
    if declaration.refused_increase is not None:
        limit = by_measure[Measure.REFUSALS]
        changes = {
            "tolerate": limit.tolerate + declaration.refused_increase,
            "find": limit.find + declaration.refused_increase,
        }
        by_measure[Measure.REFUSALS] = limit.model_copy(update=changes)
    return by_measure


def odds_of_rollback(config: CanaryConfig) -> float:
    """Evidence that is min_odds in one of the tests (Bonferroni), as so many to 1."""
    return NUM_TESTS / config.false_rollback_rate


def odds_of_harmlessness(config: CanaryConfig) -> float:
    """Evidence that is min_odds in each comparison, as so many to 1."""
    return 1 / config.miss_rate


def failure_limit(config: CanaryConfig, failures: Comparison, history: Numbers) -> Numbers:
    """The share of failures that is tolerated once the old release answers nothing any more.

    What both releases have failed before, three more, and what is tolerated in a comparison.
    `history`: the old release's failures before the switch.
    """
    num = failures.new.num + failures.old.num + history.size
    total = failures.new.total + failures.old.total + history.sum()
    share = np.minimum(1.0, (total + RARE) / np.maximum(num, 1.0))
    return np.asarray(np.minimum(0.99, share + config.limits.failures.tolerate))


def _bet(
    measure: Measure, direction: int, limit: float, history: Numbers, shape: tuple[int, ...]
) -> Bet:
    if measure is not Measure.LATENCY:
        return Bet(Claim(direction, limit), Evidence.start(history, shape))
    slow = SlowTime.start(np.exp(history), shape)
    is_slow = (history > np.max(slow.log_ms)).astype(np.float64)
    return Bet(Claim(direction, 0.0), Evidence.start(is_slow, shape), slow, math.log(limit))
