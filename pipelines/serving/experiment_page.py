"""The page of an experiment: data/reports/experiment.html."""

import datetime
from pathlib import Path
from typing import NamedTuple

from pipelines import files, pages
from pipelines.serving import experiment_outcomes
from pipelines.serving.experiment_findings import Findings, Point

PAGE = Path("data/reports/experiment.html")
# Of the picture and its margins, in pixels.
WIDTH = 760
HEIGHT = 260
X_MIN = 44
X_MAX = 748
Y_MIN = 10
Y_MAX = 234


class Picture(NamedTuple):
    """The course of the interval, in pixels of an SVG."""

    width: int
    height: int
    band: str  # corners of the polygon between its ends
    zero: float  # the height of no difference
    scale: list[tuple[str, float]]
    num_askers: int


def write(findings: Findings) -> Path:
    """Render and replace the page."""
    experiment = findings.experiment
    start = datetime.datetime.fromtimestamp(experiment.start, datetime.UTC)
    text = pages.render(
        "experiment.html.j2",
        findings=findings,
        experiment=experiment,
        meaning=experiment_outcomes.MEANINGS[experiment.config.metric],
        start=f"{start:%Y-%m-%d %H:%M} UTC",
        picture=draw(findings.course),
    )
    files.write_text(PAGE, text)
    return PAGE


def draw(course: list[Point]) -> Picture:
    """Askers from left to right, the difference from -1 (below) to 1 (above)."""
    num_askers = course[-1].num_askers
    highs = [f"{_x(point.num_askers, num_askers)},{_y(point.high)}" for point in course]
    lows = [f"{_x(point.num_askers, num_askers)},{_y(point.low)}" for point in reversed(course)]
    scale = [(f"{level:+.1f}", _y(level)) for level in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    return Picture(WIDTH, HEIGHT, " ".join([*highs, *lows]), _y(0.0), scale, num_askers)


def _x(number: int, num_askers: int) -> float:
    return round(X_MIN + (X_MAX - X_MIN) * number / max(1, num_askers), 1)


def _y(difference: float) -> float:
    return round(Y_MIN + (Y_MAX - Y_MIN) * (1 - difference) / 2, 1)
