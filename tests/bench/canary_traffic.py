"""Traffic of thousands of canaries, drawn from requests that a server has logged.

canary_traffic.csv holds 2,207 requests to one release that `make demo` logged while others worked
on the machine: milliseconds to the answer, whether it refuses, its groundedness and its thumb, both
empty where there is none. The server had time to measure a quarter of the answers; the others get
the groundedness of a measured one, as on a server that keeps up.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.serving.release_comparison import Measure
from pipelines.serving.sequential_test import weigh

Numbers = npt.NDArray[np.float64]
LOG = Path(__file__).with_suffix(".csv")
ERROR_SHARE = 0.005  # of requests to either release
HEAVY_SHARE = 0.5  # of the requests by one asker, where there is such a one
NUM_STREAKS = 30  # requests in a row with which that asker asks the same question
NUM_ASKERS = 40
MAX_ASKER_SHARE = 0.2  # canary.max_asker_share


@dataclass(frozen=True)
class World:
    """How the traffic is, and in what the new release is worse."""

    name: str
    has_heavy_asker: bool = False
    thumb_share: float = 1.0  # of the thumbs that were given; 0.05: rare
    drifts: bool = False  # both releases get up to three times as slow, and fast again
    lost_groundedness: float = 0.0
    errors: float = 0.0
    refusals: float = 0.0
    slowdown: float = 1.0
    thumbs_down: float = 0.0


class Traffic(NamedTuple):
    """Requests of many canaries, each array with shape (requests, canaries)."""

    values: dict[Measure, Numbers]
    is_new: Numbers
    share: Numbers
    weight: Numbers


def log() -> pd.DataFrame:
    return pd.read_csv(LOG)


def draw(
    world: World, shares: Numbers, num_canaries: int, generator: np.random.Generator
) -> Traffic:
    """`shares`: of the new release at each request, shape (requests,)."""
    rows = log()
    shape = (shares.size, num_canaries)
    is_heavy = generator.random(shape) < (HEAVY_SHARE if world.has_heavy_asker else 0.0)
    numbers = generator.integers(0, len(rows), shape)
    streaks = generator.integers(0, len(rows), (shares.size // NUM_STREAKS + 1, num_canaries))
    in_streak = np.repeat(streaks, NUM_STREAKS, axis=0)[: shares.size]
    numbers = np.where(is_heavy, in_streak, numbers)
    share = np.broadcast_to(shares[:, None], shape)
    is_new = (generator.random(shape) < share).astype(np.float64)
    outcomes = values(world, rows, numbers, generator)
    worsen(world, outcomes, is_new, generator)
    return Traffic(outcomes, is_new, share, weights(is_heavy))


def values(
    world: World, rows: pd.DataFrame, numbers: npt.NDArray[np.int_], generator: np.random.Generator
) -> dict[Measure, Numbers]:
    """What either release would have done with these requests."""
    shape = numbers.shape
    refused = rows["refused"].to_numpy(float)[numbers]
    measured = rows["groundedness"].dropna().to_numpy(float)
    groundedness = np.where(refused == 1, np.nan, generator.choice(measured, shape))
    thumbs = rows["thumb"].to_numpy(float)[numbers]
    is_given = generator.random(shape) < world.thumb_share
    log_ms = np.log(rows["total_ms"].to_numpy(float)[numbers])
    log_ms += 0.2 * generator.standard_normal(shape)
    if world.drifts:
        phase = generator.random(shape[1]) * 2 * np.pi
        moment = np.linspace(0, 4 * np.pi, shape[0])[:, None]
        log_ms += np.log(3) * (1 + np.sin(moment + phase)) / 2
    return {
        Measure.FAILURES: (generator.random(shape) < ERROR_SHARE).astype(np.float64),
        Measure.LATENCY: log_ms,
        Measure.REFUSALS: refused,
        Measure.GROUNDEDNESS: 1 - groundedness,
        Measure.THUMBS: np.where(is_given & ~np.isnan(thumbs), (thumbs < 0) * 1.0, np.nan),
    }


def worsen(
    world: World, outcomes: dict[Measure, Numbers], is_new: Numbers, generator: np.random.Generator
) -> None:
    """Change what the new release does, and take away what failed requests do not have."""
    changes = {
        Measure.FAILURES: world.errors,
        Measure.REFUSALS: world.refusals,
        Measure.GROUNDEDNESS: world.lost_groundedness,
        Measure.THUMBS: world.thumbs_down,
    }
    for measure, increase in changes.items():
        value = outcomes[measure]
        room = 1 - np.nanmean(value)
        is_worse = (generator.random(value.shape) < increase / room) & (is_new == 1)
        outcomes[measure] = np.where(is_worse & ~np.isnan(value), 1.0, value)
    outcomes[Measure.LATENCY] = outcomes[Measure.LATENCY] + is_new * np.log(world.slowdown)
    refuses = outcomes[Measure.REFUSALS] == 1
    outcomes[Measure.GROUNDEDNESS] = np.where(refuses, np.nan, outcomes[Measure.GROUNDEDNESS])
    has_failed = outcomes[Measure.FAILURES] == 1
    for measure in set(Measure) - {Measure.FAILURES}:
        outcomes[measure] = np.where(has_failed, np.nan, outcomes[measure])


def weights(is_heavy: npt.NDArray[np.bool_]) -> Numbers:
    """Askers' weights; all but the heavy one send about the same number of requests."""
    num_all = np.arange(is_heavy.shape[0], dtype=float)[:, None]
    num_heavy: Numbers = np.cumsum(is_heavy, axis=0) - is_heavy * 1.0
    num_own = np.where(is_heavy, num_heavy, (num_all - num_heavy) / NUM_ASKERS)
    return weigh(num_own, num_all, MAX_ASKER_SHARE)
