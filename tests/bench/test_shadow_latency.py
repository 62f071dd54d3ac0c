"""What users notice of a shadow: the time to their answers with and without one.

    .venv/bin/python -m pytest tests/bench/test_shadow_latency.py -s -o norecursedirs=

One user asks and pauses for half a second to two seconds, as a small site's users do. Two releases
are loaded throughout. In every second block of time a shadow asks both of them the logged questions
whenever nobody waits.
"""

import random
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.commands import release
from pipelines.config import params
from pipelines.serving import client, live_server, locations, releasing, shadow
from pipelines.serving.canary import Handover
from pipelines.serving.triton_connection import Triton
from tests.serving.conftest import QUESTIONS, candidate, evaluated, export, models, served, shop

# Fixtures.
__all__ = ["candidate", "evaluated", "export", "models", "served", "shop"]

NUM_BLOCKS = 8  # of each kind
BLOCK_SECONDS = 25.0
NUM_LOGGED = 120
SHORTEST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 2.0
MOST_TIMES_AS_LONG = 1.05


def test_the_time_to_an_answer_with_and_without_a_shadow(
    served: Callable[[], Triton], candidate: Callable[..., str]
) -> None:
    triton = served()
    candidate("r-one")
    release.run("ada", "first")
    candidate("r-two")
    live_server.install(Path("models/triton"), "r-two")
    live_server.load(triton, "r-two")
    for number in range(NUM_LOGGED):
        client.ask(question(number))

    dice = random.Random(7)
    times: dict[bool, list[float]] = {False: [], True: []}
    num_pairs = 0
    for number in range(2 * NUM_BLOCKS):
        has_shadow = number % 2 == 1
        comparing = Comparing(triton) if has_shadow else None
        if comparing:
            comparing.start()
        times[has_shadow] += ask_for(BLOCK_SECONDS, dice)
        if comparing:
            num_pairs += comparing.num_pairs()

    print()
    for has_shadow, seconds in times.items():
        tenths = statistics.quantiles(seconds, n=10)
        print(
            f"shadow {has_shadow}: {len(seconds)} answers, median {1000 * tenths[4]:.1f} ms, "
            f"nine of ten within {1000 * tenths[8]:.1f} ms"
        )
    ratio = statistics.median(times[True]) / statistics.median(times[False])
    print(f"{num_pairs} pairs were compared meanwhile; ratio of the medians {ratio:.3f}")
    assert num_pairs > NUM_BLOCKS * BLOCK_SECONDS / 10, "the shadow hardly asked anything"
    assert ratio <= MOST_TIMES_AS_LONG


class Comparing(threading.Thread):
    """A shadow that goes on for a block."""

    def __init__(self, triton: Triton):
        super().__init__()
        sections = releasing.Config.of(params.load())
        endless = {
            "replay": NUM_LOGGED,
            "share": 1.0,
            "min_pairs": 10**6,
            "max_seconds": BLOCK_SECONDS,
        }
        self._config = shadow.Config(
            sections.shadow.model_copy(update=endless), sections.canary, client.SLACK_SECONDS
        )
        self._handover = Handover("r-two", "r-one", triton, locations.traffic_folder())
        self._result: shadow.Shadow | None = None

    def run(self) -> None:
        self._result = shadow.compare(self._config, self._handover, random.Random(7))

    def num_pairs(self) -> int:
        """When it has ended."""
        self.join()
        assert self._result is not None
        assert self._result.outcome.report.passed
        return self._result.comparison.num_pairs


def question(number: int) -> str:
    return f"{QUESTIONS[number % len(QUESTIONS)]} Case {number}."


def ask_for(seconds: float, dice: random.Random) -> list[float]:
    """The seconds to each answer of a user who asks and pauses."""
    end = time.monotonic() + seconds
    times: list[float] = []
    while time.monotonic() < end:
        start = time.perf_counter()
        client.ask(question(dice.randrange(NUM_LOGGED)))
        times.append(time.perf_counter() - start)
        time.sleep(dice.uniform(SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
    return times
