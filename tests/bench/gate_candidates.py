"""Candidates of the gate, simulated from the answers of a real run.

Each answers a golden set that is drawn anew, page by page or topic by topic, from the recorded
answers of the candidate of this clone's last run, which stand for its champion. It differs from the
champion in as many questions as two trainings do, whole topics and pages being better or worse, and
is worse by a known drop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines import files
from pipelines.contracts.answers import ANSWERS, METRICS, SLICES
from pipelines.contracts.scores import CANDIDATE, Interval
from pipelines.decision import scoring
from pipelines.decision.question_counts import DISCORDANCE
from pipelines.decision.scoring import Bootstrap

Numbers = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int_]
RUN = Path("data/answers.parquet")
NUM_RESAMPLES = 400  # evaluate takes more; the ends of the interval come out the same
# Standard deviation by which a whole topic or page gets better or worse. With it, differences vary
# as much by clusters as those of two real trainings (see test_gate_power).
CLUSTER_SPREAD = 0.08


@dataclass(frozen=True)
class Case:
    """How a candidate differs from its champion."""

    name: str
    drop: float = 0.0  # in every metric
    collapse: str | None = None  # dimension of which the largest slice gets nothing right


class GoldenSet(NamedTuple):
    """The champion's answers, one row a question, and the number of each one's cluster."""

    champion: pd.DataFrame
    clusters: Rows
    recorded: pd.DataFrame  # what it was drawn from


@dataclass(frozen=True)
class Recording:
    """The recorded answers, one row a question; a metric is NaN where it does not apply."""

    answers: pd.DataFrame
    clusters: list[Rows]  # the rows of each topic or page

    def draw(self, generator: np.random.Generator) -> GoldenSet:
        """As many clusters as there are, with replacement."""
        numbers = generator.integers(0, len(self.clusters), len(self.clusters))
        members = [self.clusters[number] for number in numbers]
        sizes = [rows.size for rows in members]
        champion = self.answers.iloc[np.concatenate(members)]
        clusters = np.repeat(np.arange(len(members)), sizes)
        return GoldenSet(champion, clusters, self.answers)


class Change(NamedTuple):
    """How the values of one metric are drawn again."""

    recorded: Numbers  # of all questions
    better: Numbers  # share of answers that get right, for each question of the golden set
    drop: float


def read() -> Recording | None:
    """The last run's recording, if there was a run."""
    if not RUN.exists():
        return None
    rows = [row for row in files.read(RUN, ANSWERS) if row["system"] == CANDIDATE]
    names = pd.Series([scoring.cluster_of(row) for row in rows])
    clusters = [np.asarray(numbers) for numbers in names.groupby(names).indices.values()]
    answers = pd.DataFrame(rows, columns=[*METRICS, *SLICES])
    return Recording(answers.astype(dict.fromkeys(SLICES, "category")), clusters)


def answer(
    golden: GoldenSet, case: Case, metrics: Sequence[str], generator: np.random.Generator
) -> pd.DataFrame:
    """The candidate's values of these metrics, and the slices of the questions."""
    num_clusters = int(golden.clusters.max()) + 1
    better = CLUSTER_SPREAD * generator.standard_normal(num_clusters)[golden.clusters]
    candidate = golden.champion[[*metrics, *SLICES]].copy()
    for metric in metrics:
        change = Change(golden.recorded[metric].to_numpy(dtype=float), better, case.drop)
        values = golden.champion[metric].to_numpy(dtype=float)
        candidate[metric] = _answer_again(values, change, generator)
    if case.collapse is not None:
        labels = candidate[case.collapse]
        lost = (labels == labels.value_counts().index[0]).to_numpy()
        candidate.loc[lost, list(metrics)] = candidate.loc[lost, list(metrics)] * 0
    return candidate


def _answer_again(champion: Numbers, change: Change, generator: np.random.Generator) -> Numbers:
    """Values of a candidate: a right answer can only get wrong, and a wrong one right.

    So topics that the champion knows well mostly lose, and the others mostly win, as happens with
    two trainings.
    """
    right = change.recorded[change.recorded >= 0.5]
    wrong = change.recorded[change.recorded < 0.5]
    share_of_right = right.size / (right.size + wrong.size)
    better = change.better - change.drop / (right.mean() - wrong.mean())
    loss = np.maximum((DISCORDANCE - better) / 2, np.maximum(-better, 0)) / share_of_right
    gain = np.maximum((DISCORDANCE + better) / 2, np.maximum(better, 0)) / (1 - share_of_right)
    is_right = champion >= 0.5
    is_changed = generator.random(champion.size) < np.where(is_right, loss, gain)
    opposite = np.where(
        is_right, generator.choice(wrong, champion.size), generator.choice(right, champion.size)
    )
    values = np.where(is_changed, opposite, champion)
    return np.asarray(np.where(np.isnan(champion), np.nan, values))


def compare(
    golden: GoldenSet, candidate: pd.DataFrame, metric: str, *, is_clustered: bool, seed: int
) -> Interval:
    """The candidate minus its champion, with the interval that `evaluate` gives it."""
    difference = (candidate[metric] - golden.champion[metric]).to_numpy(dtype=float)
    return interval(golden, difference, is_clustered=is_clustered, seed=seed)


def interval(golden: GoldenSet, values: Numbers, *, is_clustered: bool, seed: int) -> Interval:
    present = ~np.isnan(values)
    names = golden.clusters[present].astype(str).tolist() if is_clustered else None
    return scoring.interval(values[present].tolist(), Bootstrap(NUM_RESAMPLES, seed), names)


def slices(rows: pd.DataFrame, min_questions: int) -> dict[str, Interval]:
    """Exact match by slice, of which the gate looks at means and numbers, if they are large."""
    intervals: dict[str, Interval] = {}
    values = rows["exact_match"].to_numpy(dtype=float)
    for dimension in SLICES:
        codes = rows[dimension].cat.codes.to_numpy()
        counted = (codes >= 0) & ~np.isnan(values)
        counts = np.bincount(codes[counted])
        sums = np.bincount(codes[counted], weights=values[counted])
        for code in np.flatnonzero(counts >= min_questions).tolist():
            mean = float(sums[code] / counts[code])
            interval = Interval(value=mean, low=mean, high=mean, num=int(counts[code]))
            intervals[f"{dimension}:{rows[dimension].cat.categories[code]}"] = interval
    return intervals
