"""Compares what two releases answer to the same questions.

Each comparison has two bets (see sequential_test): that the new release is worse than is tolerated,
and that it is less bad than what must be found. A pair says how the two differ on one question, so
the questions' own difficulty, most of what makes a canary slow, does not count.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from pipelines.config.canary import Limit
from pipelines.runtime.comparison import normalize
from pipelines.serving.live_comparison import NO_NAME, values_of
from pipelines.serving.release_comparison import BY_ASKER, ESSENTIAL, Measure, Tally, Values
from pipelines.serving.sequential_test import Claim, Evidence, Numbers, update_paired, weigh

Row = dict[str, Any]  # as in the traffic log, as far as the release itself fills it
MEASURES = ESSENTIAL  # nobody rates an answer out of sight
ONE = np.asarray(1.0)


class Pair(NamedTuple):
    """A question that both releases were asked, and how each ended."""

    question: str
    tenant: str
    old: Row
    new: Row


@dataclass(frozen=True)
class PairedBets:
    """One measure of the pairs. `new`, `old`: the values of pairs in which both have one."""

    measure: Measure
    limit: Limit
    worse: Evidence
    harmless: Evidence
    new: Tally
    old: Tally

    @classmethod
    def start(cls, measure: Measure, limit: Limit, shape: tuple[int, ...] = ()) -> "PairedBets":
        evidence = Evidence.start(np.zeros(0), shape)
        zeros = np.zeros(shape)
        return cls(measure, limit, evidence, evidence, Tally(zeros, zeros), Tally(zeros, zeros))

    def after(self, old: Numbers, new: Numbers, weight: Numbers) -> "PairedBets":
        """With one more pair; NaN: does not apply. `weight`: of the asker's question."""
        if self.measure not in BY_ASKER:
            weight = np.ones_like(weight)
        counts = np.where(np.isnan(old) | np.isnan(new), 0.0, 1.0)
        worse, harmless = self._differences(old, new)
        tolerate, find = self._margins()
        return replace(
            self,
            worse=update_paired(self.worse, Claim(1, tolerate), worse, weight),
            harmless=update_paired(self.harmless, Claim(-1, find), harmless, weight),
            new=self.new.add(new, counts),
            old=self.old.add(old, counts),
        )

    def _margins(self) -> tuple[float, float]:
        if self.measure is Measure.LATENCY:
            return 0.0, 0.0
        return self.limit.tolerate, self.limit.find

    def _differences(self, old: Numbers, new: Numbers) -> tuple[Numbers, Numbers]:
        """Of times only whether they differ by more than the limit: the median ratio is judged."""
        if self.measure is not Measure.LATENCY:
            return new - old, new - old
        log_ratio = new - old
        return (
            np.sign(log_ratio - math.log(self.limit.tolerate)),
            np.sign(log_ratio - math.log(self.limit.find)),
        )


@dataclass(frozen=True)
class Look:
    """The evidence of one measure after so many pairs, as logarithms of the odds."""

    num_pairs: int
    worse: float
    harmless: float


@dataclass(frozen=True)
class Descriptions:
    """What is counted of the pairs and not judged; sums over pairs that both answered."""

    num_pairs: int = 0
    num_answered: int = 0  # by both
    num_same: int = 0  # answers with the same words
    log_length_ratio: float = 0.0  # characters, new by old
    log_token_ratio: float = 0.0  # tokens written, new by old
    num_new_flags: int = 0  # answers that the new release alone flags or withholds
    num_old_flags: int = 0

    def after(self, pair: Pair) -> "Descriptions":
        counted = replace(self, num_pairs=self.num_pairs + 1)
        if pair.old["status"] != "ok" or pair.new["status"] != "ok":
            return counted
        old_answer, new_answer = pair.old["answer"], pair.new["answer"]
        old_flags, new_flags = set(pair.old["guard_flags"]), set(pair.new["guard_flags"])
        tokens = pair.new["num_new_tokens"], pair.old["num_new_tokens"]
        return replace(
            counted,
            num_answered=self.num_answered + 1,
            num_same=self.num_same + (normalize(old_answer) == normalize(new_answer)),
            log_length_ratio=self.log_length_ratio + _log_ratio(len(new_answer), len(old_answer)),
            log_token_ratio=self.log_token_ratio + _log_ratio(*tokens),
            num_new_flags=self.num_new_flags + bool(new_flags - old_flags),
            num_old_flags=self.num_old_flags + bool(old_flags - new_flags),
        )

    def describe(self) -> str:
        """For people: agreement, length, tokens, flags."""
        if not self.num_answered:
            return f"{self.num_pairs} pairs, none of them answered by both"
        length = math.exp(self.log_length_ratio / self.num_answered)
        tokens = math.exp(self.log_token_ratio / self.num_answered)
        return (
            f"{self.num_pairs} pairs; the same words in {self.num_same / self.num_answered:.0%} of "
            f"{self.num_answered} answers, typically {length:.2f} times as long with {tokens:.2f} "
            f"times as many tokens; {self.num_new_flags} flagged by the new release alone, "
            f"{self.num_old_flags} by the old one alone"
        )


class PairedComparison:
    """All measures of a shadow, pair by pair."""

    def __init__(self, limits: Mapping[Measure, Limit], max_asker_share: float):
        """`limits`: with what was declared. `max_asker_share`: as canary.max_asker_share."""
        self.bets: dict[Measure, PairedBets] = {}
        for measure in MEASURES:
            self.bets[measure] = PairedBets.start(measure, limits[measure])
        self.looks: dict[Measure, list[Look]] = {measure: [] for measure in MEASURES}
        self.descriptions = Descriptions()
        self.worst: dict[Measure, list[str]] = {measure: [] for measure in MEASURES}
        self._max_asker_share = max_asker_share
        self._num_by_tenant: Counter[str] = Counter()

    @property
    def num_pairs(self) -> int:
        return self.descriptions.num_pairs

    def add(self, pair: Pair) -> None:
        weight = self._weight(pair.tenant)
        self._num_by_tenant[pair.tenant] += 1
        self.descriptions = self.descriptions.after(pair)
        old, new = values_of(pair.old), values_of(pair.new)
        for measure in MEASURES:
            bets = self.bets[measure].after(old[measure], new[measure], weight)
            self.bets[measure] = bets
            worse, harmless = float(bets.worse.log_odds()), float(bets.harmless.log_odds())
            self.looks[measure].append(Look(self.num_pairs, worse, harmless))
            if self._is_worse(measure, old, new):
                self.worst[measure].append(pair.question)

    def _weight(self, tenant: str) -> Numbers:
        if tenant == NO_NAME:
            return ONE
        num_own = np.asarray(float(self._num_by_tenant[tenant]))
        num_all = np.asarray(float(self._num_by_tenant.total()))
        return weigh(num_own, num_all, self._max_asker_share)

    def _is_worse(self, measure: Measure, old: Values, new: Values) -> bool:
        """Whether a pair speaks against the new release; False where a value does not apply."""
        difference = float(new[measure] - old[measure])
        if measure is Measure.LATENCY:
            return difference > math.log(self.bets[measure].limit.tolerate)
        return difference > 0


def _log_ratio(new: int, old: int) -> float:
    """Of counts, each at least 1, so that an empty answer has a ratio too."""
    return math.log(max(new, 1) / max(old, 1))
