"""Pairs of answers of thousands of shadows, drawn from the requests of canary_traffic.csv.

Both releases answer the same logged request, each in a time of its own. In a share of the questions
the new release answers differently, as two trainings do: there it does as on another request.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.serving.paired_comparison import MEASURES
from pipelines.serving.release_comparison import Measure
from tests.bench import canary_traffic
from tests.bench.canary_traffic import Numbers, World

TIME_SPREAD = 0.2  # standard deviation of the logarithm of an answer's time


@dataclass(frozen=True)
class Pairs:
    """Values of both releases and the askers' weights, each with shape (pairs, shadows)."""

    old: dict[Measure, Numbers]
    new: dict[Measure, Numbers]
    weight: Numbers


def draw(
    world: World,
    discordance: float,
    shape: tuple[int, int],
    generator: np.random.Generator,
) -> Pairs:
    """`discordance`: share of questions that the new release answers differently. `shape`: pairs,
    shadows.
    """
    rows = canary_traffic.log()
    numbers = generator.integers(0, len(rows), shape)
    other_numbers = generator.integers(0, len(rows), shape)
    old = canary_traffic.values(world, rows, numbers, generator)
    other = canary_traffic.values(world, rows, other_numbers, generator)
    is_different = generator.random(shape) < discordance
    new: dict[Measure, Numbers] = {}
    for measure in MEASURES:
        new[measure] = np.where(is_different, other[measure], old[measure])
    # Errors do not come from the question.
    new[Measure.FAILURES] = other[Measure.FAILURES]
    new[Measure.LATENCY] = new[Measure.LATENCY] + TIME_SPREAD * generator.standard_normal(shape)
    new[Measure.THUMBS] = np.zeros(shape)  # nobody rates what nobody sees
    canary_traffic.worsen(World("as before"), old, np.zeros(shape), generator)
    canary_traffic.worsen(world, new, np.ones(shape), generator)
    heavy_share = canary_traffic.HEAVY_SHARE if world.has_heavy_asker else 0.0
    is_heavy = generator.random(shape) < heavy_share
    return Pairs(old, new, canary_traffic.weights(is_heavy))
