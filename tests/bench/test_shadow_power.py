"""How often a shadow stops a release by chance, and how soon it finds a worse one.

Thousands of shadows on pairs drawn from a server's log (shadow_pairs.py), by the code that judges
real ones, with the values of params.yaml, looked at after each pair. No server, no clock.

    .venv/bin/python -m pytest tests/bench/test_shadow_power.py -s -o norecursedirs=
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from pipelines.config import params
from pipelines.config.canary import CanaryConfig
from pipelines.config.shadow import ShadowConfig
from pipelines.serving import paired_judgement
from pipelines.serving import release_comparison as comparing
from pipelines.serving.declarations import NOTHING
from pipelines.serving.paired_comparison import MEASURES, PairedBets
from pipelines.serving.release_comparison import Measure
from tests.bench import shadow_pairs
from tests.bench.canary_traffic import Numbers, World
from tests.bench.test_canary_power import EQUAL, NEVER, WORSE, upper_end

SEED = 11
AT_ONCE = 1000  # shadows
TWO_TRAININGS = 0.2  # of the questions two trainings answer differently


@dataclass(frozen=True)
class Result:
    """For each shadow the number of pairs after which something was known, or NEVER."""

    refusal: Numbers
    harmless: Numbers  # every harm that must be found was ruled out


def watch(world: World, discordance: float, num_pairs: int, num_shadows: int) -> Result:
    """Every shadow, looked at after each pair, also after it would have ended."""
    generator = np.random.default_rng(SEED)
    results: list[Result] = []
    for _ in range(0, num_shadows, AT_ONCE):
        shape = (num_pairs, min(AT_ONCE, num_shadows))
        pairs = shadow_pairs.draw(world, discordance, shape, generator)
        results.append(watch_together(pairs, MEASURES))
    refusal = np.concatenate([result.refusal for result in results])
    return Result(refusal, np.concatenate([result.harmless for result in results]))


def watch_together(pairs: shadow_pairs.Pairs, measures: Sequence[Measure]) -> Result:
    canary = params.load().section(CanaryConfig)
    shadow = params.load().section(ShadowConfig)
    limits = comparing.limits(canary, NOTHING)
    num_pairs, num_shadows = pairs.weight.shape
    bets = [PairedBets.start(measure, limits[measure], (num_shadows,)) for measure in measures]
    refusal_odds = math.log(paired_judgement.odds_of_refusal(shadow))
    harmless_odds = math.log(comparing.odds_of_harmlessness(canary))
    refusal = np.full(num_shadows, NEVER)
    harmless = np.full(num_shadows, NEVER)
    for number in range(num_pairs):
        weight = pairs.weight[number]
        for index, bet in enumerate(bets):
            old, new = pairs.old[bet.measure][number], pairs.new[bet.measure][number]
            bets[index] = bet.after(old, new, weight)
        is_worse = np.max([bet.worse.log_odds() for bet in bets], axis=0) >= refusal_odds
        refusal = np.where(is_worse, np.minimum(refusal, number + 1), refusal)
        is_harmless = np.min([bet.harmless.log_odds() for bet in bets], axis=0) >= harmless_odds
        harmless = np.where(is_harmless, np.minimum(harmless, number + 1), harmless)
    return Result(refusal, harmless)


NUM_EQUAL = 10_000
CASES = [(world, TWO_TRAININGS, 200) for world in (EQUAL[0], EQUAL[1], EQUAL[4])]
CASES += [(EQUAL[0], 0.0, 200), (EQUAL[0], 1.0, 200), (EQUAL[0], 1.0, 600)]
CASES += [(EQUAL[4], 0.0, 600)]


@pytest.mark.parametrize(
    ("world", "discordance", "num_pairs"), CASES, ids=lambda value: getattr(value, "name", value)
)
def test_a_release_that_is_not_worse_is_rarely_stopped(
    world: World, discordance: float, num_pairs: int
) -> None:
    result = watch(world, discordance, num_pairs, NUM_EQUAL)
    share = float(np.isfinite(result.refusal).mean())
    highest = upper_end(share, NUM_EQUAL)
    harmless = result.harmless[np.isfinite(result.harmless)]
    typically = f"half of them within {np.median(harmless):.0f}" if harmless.size else "none"
    print(
        f"\n{world.name}, {discordance:.0%} answered differently, {num_pairs} pairs: {share:.2%} "
        f"stopped (at most {highest:.2%}); all harm ruled out in {harmless.size / NUM_EQUAL:.0%}, "
        f"{typically}"
    )
    assert highest <= 0.015


NUM_WORSE = 1000
# Of the requests that a canary takes. Errors do not come from the question: pairs help less.
MAX_SHARE = 0.25
MAX_SHARE_OF_FAILURES = 0.3


@pytest.mark.parametrize("discordance", [0.0, TWO_TRAININGS])
@pytest.mark.parametrize(
    ("world", "num_requests"),
    [case for case in WORSE if case[0].thumbs_down == 0],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_same_harm_takes_a_quarter_of_the_canarys_requests(
    world: World, num_requests: int, discordance: float
) -> None:
    """`num_requests`: to both releases, within which a canary finds it in 95 of 100 cases."""
    max_share = MAX_SHARE if world.errors == 0 else MAX_SHARE_OF_FAILURES
    num_pairs = int(max_share * num_requests)
    result = watch(world, discordance, num_pairs, NUM_WORSE)
    is_passed = result.harmless < result.refusal
    found = float((np.isfinite(result.refusal) & ~is_passed).mean())
    median, late = np.quantile(result.refusal, [0.5, 0.95], method="inverted_cdf")
    within = float(((result.refusal <= 200) & ~is_passed).mean())
    print(
        f"\n{world.name}, {discordance:.0%} answered differently: {found:.1%} found within "
        f"{num_pairs} pairs (half within {median:.0f}, 95 % within {late:.0f}, {within:.1%} within "
        f"200); {is_passed.mean():.1%} passed as good; the canary: {num_requests} requests"
    )
    assert late <= num_pairs
