"""Metrics of answers and of retrieval, with their bootstrap intervals."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.contracts.answers import METRICS, SLICES
from pipelines.contracts.scores import CANDIDATE, Interval, Scores, System
from pipelines.runtime.comparison import normalize

Values = npt.NDArray[np.float64]
Row = dict[str, Any]  # of answers.parquet


class Bootstrap(NamedTuple):
    """How intervals are resampled; the same values and seed give the same interval."""

    num_resamples: int
    seed: int


def exact_match(answer: str, target: str) -> float:
    return float(normalize(answer) == normalize(target))


def token_f1(answer: str, target: str) -> float:
    """Harmonic mean of precision and recall over words (Rajpurkar et al. 2016)."""
    answer_words = normalize(answer).split()
    target_words = normalize(target).split()
    overlap = sum((Counter(answer_words) & Counter(target_words)).values())
    if not overlap:
        return float(answer_words == target_words)
    precision = overlap / len(answer_words)
    recall = overlap / len(target_words)
    return 2 * precision * recall / (precision + recall)


def best_of(metric: Callable[[str, str], float], answer: str, targets: Sequence[str]) -> float:
    """The metric against the nearest of several right answers, as in SQuAD."""
    return max(metric(answer, target) for target in targets)


def contains_answer(answer: str, target: str) -> float:
    """Whether the words of a right answer stand in the given one, in their order."""
    return float(f" {normalize(target)} " in f" {normalize(answer)} ")


def rouge_l(answers: Sequence[str], targets: Sequence[str]) -> list[float]:
    """ROUGE-L F1 of each pair (Lin 2004), by the `rouge_score` package, without stemming."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    values: list[float] = []
    for answer, target in zip(answers, targets, strict=True):
        score = scorer.score(target, answer)["rougeL"]
        values.append(float(score.fmeasure))
    return values


def retrieval(uris: Sequence[str], relevant: Collection[str]) -> dict[str, float]:
    """hit@k, MRR and nDCG@10 of one ranking; the first relevant page counts.

    `uris`: the pages of the retrieved passages, best first; a page ranks where it first occurs.
    """
    rank = math.inf
    for position, uri in enumerate(dict.fromkeys(uris), start=1):
        if uri in relevant:
            rank = position
            break
    return {
        "hit_at_1": float(rank <= 1),
        "hit_at_3": float(rank <= 3),
        "hit_at_5": float(rank <= 5),
        "mrr": 1 / rank,
        "ndcg_at_10": 1 / math.log2(rank + 1) if rank <= 10 else 0.0,
    }


def interval(values: Sequence[float | None], bootstrap: Bootstrap) -> Interval:
    """Mean and 95 % percentile bootstrap interval (Efron 1979) of the values that are not None."""
    present = np.array([value for value in values if value is not None], dtype=np.float64)
    if present.size == 0 or not np.isfinite(present).all():
        return Interval(value=None, low=None, high=None, num=int(present.size))
    low, high = np.percentile(_resampled_means(present, bootstrap), [2.5, 97.5])
    return Interval(
        value=round(float(present.mean()), 6),
        low=round(float(low), 6),
        high=round(float(high), 6),
        num=int(present.size),
    )


def difference(
    minuends: Sequence[float | None], subtrahends: Sequence[float | None], bootstrap: Bootstrap
) -> Interval:
    """Paired bootstrap of the first minus the second, over the questions that both have."""
    differences: list[float] = []
    for minuend, subtrahend in zip(minuends, subtrahends, strict=True):
        if minuend is not None and subtrahend is not None:
            differences.append(minuend - subtrahend)
    return interval(differences, bootstrap)


def _resampled_means(values: Values, bootstrap: Bootstrap) -> Values:
    generator = np.random.default_rng(bootstrap.seed)
    shape = (bootstrap.num_resamples, values.size)
    indices = generator.integers(0, values.size, size=shape)
    return np.asarray(values[indices].mean(axis=1), dtype=np.float64)


def by_slice(
    rows: Sequence[Row], dimensions: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """Exact match by `dimension:value`, sorted by name."""
    groups: dict[str, list[float | None]] = {}
    for row in rows:
        for dimension in dimensions:
            if row[dimension] is not None:
                group = groups.setdefault(f"{dimension}:{row[dimension]}", [])
                group.append(row["exact_match"])
    return {name: interval(groups[name], bootstrap) for name in sorted(groups)}


class Subject(NamedTuple):
    """What the scores are about."""

    candidate: str  # digest of the adapter
    champion: str | None  # release id
    golden_digest: str


def summarize(rows: Sequence[Row], subject: Subject, bootstrap: Bootstrap) -> Scores:
    """All metrics of all systems, and their differences from the candidate's."""
    by_system: dict[str, list[Row]] = {}
    for row in rows:
        by_system.setdefault(row["system"], []).append(row)
    candidate_rows = by_system[CANDIDATE]
    systems: dict[str, System] = {}
    differences: dict[str, dict[str, Interval]] = {}
    for name, system_rows in by_system.items():
        systems[name] = System(
            metrics=_metrics(system_rows, bootstrap),
            slices=by_slice(system_rows, SLICES, bootstrap),
        )
        if name != CANDIDATE:
            differences[name] = _differences(candidate_rows, system_rows, bootstrap)
    return Scores(
        candidate=subject.candidate,
        champion=subject.champion,
        num_questions=len(candidate_rows),
        golden_digest=subject.golden_digest,
        systems=systems,
        differences=differences,
    )


def _metrics(rows: Sequence[Row], bootstrap: Bootstrap) -> dict[str, Interval]:
    return {metric: interval(_column(rows, metric), bootstrap) for metric in METRICS}


def _differences(
    candidate_rows: Sequence[Row], rows: Sequence[Row], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """The candidate's metrics minus those of another system, question by question."""
    differences: dict[str, Interval] = {}
    for metric in METRICS:
        minuends = _column(candidate_rows, metric)
        differences[metric] = difference(minuends, _column(rows, metric), bootstrap)
    return differences


def _column(rows: Sequence[Row], metric: str) -> list[float | None]:
    return [row[metric] for row in rows]
