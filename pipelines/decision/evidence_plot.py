"""Draws the evidence of a step as it grew: odds on a logarithmic scale, with where they decide."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.contracts.release_steps import Curve, Plot

WIDTH = 340
HEIGHT = 170
LEFT = 52
RIGHT = 10
TOP = 16  # for the names of the marks
BOTTOM = 32
SPARE = 0.4  # powers of ten above the higher threshold
LOWEST = -3.0  # powers of ten; what lies below is drawn there
HIGHEST_START = -1.0  # power of ten at which the scale begins if nothing lies below
MAX_WORDS = 1e6  # odds beyond this are called that


class Line(NamedTuple):
    """A curve in pixels. `points`: as SVG wants them; `name`: a CSS class."""

    name: str
    label: str
    points: str
    last: tuple[float, float]
    threshold: float  # its height


class Drawing(NamedTuple):
    """All that the template needs, in pixels."""

    title: str
    description: str  # in words, for those who do not see it
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_label: str
    x_labels: list[tuple[float, str]]
    y_labels: list[tuple[float, str]]
    marks: list[tuple[float, str]]
    lines: list[Line]


@dataclass(frozen=True)
class Scale:
    """Where counts and powers of ten are, in pixels. Points beyond are at its end."""

    num: float
    lowest: float
    highest: float

    def x(self, num: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * num / self.num, 1)

    def y(self, power: float) -> float:
        inside = min(max(power, self.lowest), self.highest)
        share = (inside - self.lowest) / (self.highest - self.lowest)
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 1)


def draw(plot: Plot) -> Drawing:
    """Every curve of a plot has at least one point."""
    numbers = [curve.points[-1][0] for curve in plot.curves]
    highest = max(curve.threshold for curve in plot.curves) + SPARE
    scale = Scale(max(numbers) or 1, _lowest(plot), highest)
    powers = range(math.ceil(scale.lowest), math.floor(scale.highest) + 1)
    y_labels = [(scale.y(power), _odds(power)) for power in powers]
    marks = [(scale.x(mark.x), mark.label) for mark in plot.marks]
    lines = [_line(curve, scale) for curve in plot.curves]
    return Drawing(
        title=plot.title,
        description="; ".join(_describe(curve, plot.x_label) for curve in plot.curves),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        x_label=plot.x_label,
        x_labels=[(scale.x(0), "0"), (scale.x(scale.num), f"{scale.num:g}")],
        y_labels=y_labels,
        marks=marks,
        lines=lines,
    )


def _line(curve: Curve, scale: Scale) -> Line:
    points = [(scale.x(num), scale.y(power)) for num, power in curve.points]
    return Line(
        name="bad" if curve.is_against else "good",
        label=curve.label,
        points=" ".join(f"{x},{y}" for x, y in points),
        last=points[-1],
        threshold=scale.y(curve.threshold),
    )


def _lowest(plot: Plot) -> float:
    """Where the scale begins: at the lowest point, but neither too low nor too high."""
    lowest = HIGHEST_START
    for curve in plot.curves:
        lowest = min(lowest, *(power for _, power in curve.points))
    return max(lowest, LOWEST)


def _describe(curve: Curve, x_label: str) -> str:
    number, value = curve.points[-1]
    has_decided = "reached" if value >= curve.threshold else "not reached"
    return (
        f"evidence that {curve.label}: {_in_words(value)} after {number:g} {x_label}; "
        f"{_in_words(curve.threshold)}, where it decides, was {has_decided}"
    )


def _in_words(power: float) -> str:
    odds = 10.0**power if power < math.log10(MAX_WORDS) else math.inf
    return f"{odds:.3g} to 1" if math.isfinite(odds) else "more than a million to 1"


def _odds(power: int) -> str:
    """A label of the axis."""
    return f"{10**power}:1" if power >= 0 else f"1:{10**-power}"
