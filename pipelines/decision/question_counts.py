"""Whether there are enough golden questions for the gate's floors and its margin.

Before any model is trained: by the errors that so many questions will have (see power).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

from pipelines.config.gate import GateConfig
from pipelines.contracts.answers import RETRIEVAL
from pipelines.decision import power
from pipelines.decision.gate_settings import applies
from pipelines.decision.power import EIGHT_OF_TEN, END
from pipelines.decision.scoring import cluster_of
from pipelines.questions.golden import Golden

# Share of questions in which two trainings with the same settings differ: 0.19 in exact match of
# 300 questions to the made model. Both search the same index, unless it was changed meanwhile.
DISCORDANCE = 0.19
DISCORDANCE_OF_RETRIEVAL = 0.05
# How alike the outcomes of two questions about the same topic or page are. With 4.4 questions in a
# cluster, the variance of that difference is 1.24 times that of independent questions.
LIKENESS = 0.07
# A floor must let a model pass 8 times of 10 that makes a third of the errors that it allows.
SHARE_OF_ERRORS = 1 / 3


def warnings(config: GateConfig, golden: Sequence[Golden]) -> list[str]:
    """Floors and the margin that so few questions cannot tell, with how many would do."""
    return [*_floor_warnings(config, golden), *_margin_warnings(config, golden)]


def _floor_warnings(config: GateConfig, golden: Sequence[Golden]) -> Iterator[str]:
    """Floors that a model must exceed by far to pass 8 times of 10."""
    for metric, floor in config.floors.items():
        questions = [item for item in golden if applies(metric, item)]
        if not questions or not 0 < floor < 1:
            continue  # gate_settings says so
        inflation = _inflation(questions)
        level = _level(floor, inflation, len(questions))
        if _is_too_high(level, floor):
            for num in itertools.count(len(questions)):
                if not _is_too_high(_level(floor, inflation, num), floor):
                    break
            yield (
                f"params.yaml: gate.floors.{metric}: {floor:g} cannot be told with "
                f"{len(questions)} golden questions: their interval is so wide that only a model "
                f"of {level:.3f} or better passes 8 times of 10. {num} would do, or a lower floor"
            )


def _level(floor: float, inflation: float, num: int) -> float:
    return power.level_that_passes(floor, num / inflation)


def _is_too_high(level: float, floor: float) -> bool:
    return 1 - level < SHARE_OF_ERRORS * (1 - floor)


def _margin_warnings(config: GateConfig, golden: Sequence[Golden]) -> Iterator[str]:
    """Metrics in which more than 1 of 5 equal models would be refused."""
    for metric in config.champion_metrics:
        questions = [item for item in golden if applies(metric, item)]
        if not questions or not config.champion_margin:
            continue
        discordance = DISCORDANCE_OF_RETRIEVAL if metric in RETRIEVAL else DISCORDANCE
        spread = discordance * _inflation(questions)
        error = math.sqrt(spread / len(questions))
        if config.champion_margin < (END + EIGHT_OF_TEN) * error:
            num = math.ceil(spread * ((END + EIGHT_OF_TEN) / config.champion_margin) ** 2)
            refusals = 1 - NormalDist().cdf(config.champion_margin / error - END)
            yield (
                f"params.yaml: gate.champion_margin: {config.champion_margin:g} cannot be told in "
                f"{metric} with {len(questions)} golden questions: {refusals:.0%} of the models as "
                f"good as the champion would be refused. {num} would do, or a margin of "
                f"{(END + EIGHT_OF_TEN) * error:.2f}"
            )


def _inflation(questions: Sequence[Golden]) -> float:
    """By how much the variance of a mean grows since questions share clusters (Kish 1965)."""
    sizes: dict[str, int] = {}
    for question in questions:
        cluster = cluster_of(question.model_dump())
        sizes[cluster] = sizes.get(cluster, 0) + 1
    mean_size = sum(size**2 for size in sizes.values()) / len(questions)
    return 1 + (mean_size - 1) * LIKENESS
