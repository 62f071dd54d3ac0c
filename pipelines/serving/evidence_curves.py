"""How the evidence of a sequential comparison grew, look by look, for people."""

import math
from typing import NamedTuple

from pipelines.config.canary import CanaryConfig
from pipelines.contracts.release_steps import Curve, Mark, Plot
from pipelines.serving import release_comparison as comparing

MAX_LOOKS = 200  # that are kept; beyond it every second one is left out, again and again


class LogOdds(NamedTuple):
    """Natural logarithms of the odds; None: not asked."""

    worse: float
    harmless: float | None = None


class Look(NamedTuple):
    """The evidence by name after so many requests."""

    num: int
    log_odds: dict[str, LogOdds]


class Thresholds(NamedTuple):
    """The odds from which a comparison decides."""

    worse: float
    harmless: float


class EvidenceCurves:
    """The looks at a comparison, thinned out so that their number stays bounded."""

    def __init__(self, config: CanaryConfig):
        self._config = config
        self._marks: list[Mark] = []
        self._looks: list[Look] = []
        self._last: Look | None = None
        self._stride = 1  # new requests between two looks that are kept

    def mark(self, num: int, label: str) -> None:
        """Something that happened after so many requests."""
        self._marks.append(Mark(x=num, label=label))

    def add(self, num: int, log_odds: dict[str, LogOdds]) -> None:
        """`num`: requests that were counted. The last look is always kept."""
        self._last = Look(num, log_odds)
        if self._looks and num < self._looks[-1].num + self._stride:
            return
        self._looks.append(self._last)
        if len(self._looks) > MAX_LOOKS:
            self._looks = self._looks[::2]
            self._stride = max(2 * self._stride, num // MAX_LOOKS)

    def plots(self) -> list[Plot]:
        """One for each name that was looked at; none before the first look."""
        if self._last is None:
            return []
        looks = [*self._looks, self._last]
        thresholds = Thresholds(
            comparing.odds_of_rollback(self._config), comparing.odds_of_harmlessness(self._config)
        )
        plots: list[Plot] = []
        for name in self._last.log_odds:
            seen = [(look.num, look.log_odds[name]) for look in looks if name in look.log_odds]
            plot = draw(name, "requests", seen, thresholds)
            plots.append(plot.model_copy(update={"marks": self._marks}))
        return plots


def draw(
    title: str, x_label: str, looks: list[tuple[int, LogOdds]], thresholds: Thresholds
) -> Plot:
    """The evidence of one comparison over what was counted by then."""
    worse: list[tuple[float, float]] = []
    harmless: list[tuple[float, float]] = []
    for num, log_odds in looks:
        worse.append(_point(num, log_odds.worse))
        if log_odds.harmless is not None:
            harmless.append(_point(num, log_odds.harmless))
    curves = [
        Curve(
            label="it is worse",
            is_against=True,
            threshold=math.log10(thresholds.worse),
            points=worse,
        ),
        Curve(
            label="the harm that must be found is not there",
            is_against=False,
            threshold=math.log10(thresholds.harmless),
            points=harmless,
        ),
    ]
    curves = [curve for curve in curves if curve.points]
    return Plot(title=title, x_label=x_label, curves=curves)


def _point(num: int, log_odds: float) -> tuple[float, float]:
    return num, round(log_odds / math.log(10), 3)
