"""The HTML pages about traffic: one for each window, and one with the trend over windows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.contracts.drift import Decision, Signal, Verdict
from pipelines.monitoring.signals import KINDS
from pipelines.pages import render

OUTCOMES = {"drift": "drift", "no_drift": "no drift", "cannot_tell": "cannot tell"}
DRIFT_COLOR = "#c6281c"
NO_DRIFT_COLOR = "#1a7f37"
MAX_LEVEL = 5.0  # in units of the threshold, where the scale of the plots ends
MAX_WINDOWS = 60  # of the trend
BASELINE_KINDS = {
    "live": "accepted traffic of this release",
    "predecessor": "the last window of the release before",
    "golden": "the golden set, because there is no live traffic yet",
    "none": "no baseline",
}


class Level(NamedTuple):
    """How high a signal was in a window, in units of its threshold; None if it is not known."""

    decision: Decision
    height: float | None
    is_drift: bool


class Point(NamedTuple):
    """A window on a plot, in pixels."""

    x: float
    y: float
    color: str
    window: str
    level: float


@dataclass(frozen=True)
class Axes:
    """The size of a plot in pixels, and where windows and levels are on it."""

    width: int
    height: int
    num_windows: int
    x_min: int = 28
    y_min: int = 8

    @property
    def x_max(self) -> int:
        """The right edge."""
        return self.width - 8

    @property
    def y_max(self) -> int:
        """The lower edge."""
        return self.height - 16

    def x(self, number: int) -> float:
        """Where a window is, counted from 0; a single one is in the middle."""
        if self.num_windows == 1:
            return (self.x_min + self.x_max) / 2
        step = (self.x_max - self.x_min) / (self.num_windows - 1)
        return round(self.x_min + step * number, 1)

    def y(self, level: float) -> float:
        """Where a level is, on a square-root scale."""
        share = math.sqrt(min(level, MAX_LEVEL) / MAX_LEVEL)
        return round(self.y_max - (self.y_max - self.y_min) * share, 1)


class Plot(NamedTuple):
    """A line over windows, in pixels. It is interrupted where a level is not known."""

    axes: Axes
    scale: list[tuple[str, float]]  # labels of the vertical axis
    threshold: float
    starts: list[float]  # of trainings and refreshes
    lines: list[list[Point]]
    gaps: list[float]


def render_window(verdict: Verdict) -> str:
    """The page of one window.

    It has the verdict's sentence, every signal with its numbers, Evidently's verdicts and the
    checks of the log.
    """
    return render(
        "window.html.j2",
        verdict=verdict,
        signals=sorted(verdict.signals, key=_rank),
        kinds=KINDS,
        outcomes=OUTCOMES,
        baseline_kinds=BASELINE_KINDS,
        format_number=_format_number,
    )


def _rank(signal: Signal) -> tuple[bool, float, str]:
    return not signal.drifted, signal.p_value, signal.name


def _format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def render_trend(decisions: Sequence[Decision], verdicts: dict[str, Verdict]) -> str:
    """The page over the last windows.

    `verdicts` are by window; a window whose verdict is missing is drawn as a gap.
    """
    last_decisions = list(decisions)[-MAX_WINDOWS:]
    levels = {name: _measure_levels(name, last_decisions, verdicts) for name in KINDS}
    plots = {}
    for name, signal_levels in levels.items():
        plot = _draw(signal_levels, width=340, height=96)
        if any(plot.lines):
            plots[name] = plot
    overall = list(map(_highest, zip(*levels.values(), strict=True)))
    return render(
        "trend.html.j2",
        decisions=last_decisions[::-1],
        overall=_draw(overall, width=1100, height=220),
        plots=plots,
        kinds=KINDS,
        outcomes=OUTCOMES,
    )


def _measure_levels(
    name: str, decisions: list[Decision], verdicts: dict[str, Verdict]
) -> list[Level]:
    """The levels of one signal over the windows."""
    levels = []
    for decision in decisions:
        verdict = verdicts.get(decision.window)
        signal = _find_signal(verdict.signals, name) if verdict else None
        if signal is None:
            levels.append(Level(decision, None, False))
        else:
            levels.append(Level(decision, _height(signal), signal.drifted))
    return levels


def _find_signal(signals: Iterable[Signal], name: str) -> Signal | None:
    for signal in signals:
        if signal.name == name:
            return signal
    return None


def _height(signal: Signal) -> float | None:
    if signal.threshold <= 0:
        return None
    return max(0.0, signal.statistic / signal.threshold)


def _highest(levels: Sequence[Level]) -> Level:
    """The level of a window over all signals."""
    heights = [level.height for level in levels if level.height is not None]
    is_drift = any(level.is_drift for level in levels)
    return Level(levels[0].decision, max(heights, default=None), is_drift)


def _draw(levels: Sequence[Level], width: int, height: int) -> Plot:
    axes = Axes(width, height, len(levels))
    scale = [(f"{level:g}", axes.y(level) + 4) for level in (0, 1, MAX_LEVEL)]
    starts: list[float] = []
    gaps: list[float] = []
    lines: list[list[Point]] = [[]]
    for number, level in enumerate(levels):
        x = axes.x(number)
        if level.decision.reaction in ("train", "refresh"):
            starts.append(x)
        if level.height is None:
            gaps.append(x)
            lines.append([])
        else:
            color = DRIFT_COLOR if level.is_drift else NO_DRIFT_COLOR
            y = axes.y(level.height)
            lines[-1].append(Point(x, y, color, level.decision.window, level.height))
    return Plot(axes, scale, axes.y(1), starts, lines, gaps)
