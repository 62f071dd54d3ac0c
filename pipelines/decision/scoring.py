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


def cluster_of(question: Row) -> str:
    """What a question is about: its topic in the FAQ, or its page.

    Wordings of one question, and questions about one page, are right or wrong together. Questions
    that are to be refused although no page is near them have nothing in common.
    """
    if question["kind"] == "faq":
        return f"topic {question['topic']}"
    if question["page"] is not None:
        return f"page {question['page']}"
    return f"question {question['id']}"


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


def interval(
    values: Sequence[float | None], bootstrap: Bootstrap, clusters: Sequence[str] | None = None
) -> Interval:
    """Mean and 95 % percentile bootstrap interval (Efron 1979) of the values that are not None.

    With `clusters`, a name for each value, whole clusters are drawn instead of values (Davison and
    Hinkley 1997, section 3.8), since values of one cluster are not independent.
    """
    present: list[float] = []
    names: list[str] = []
    for number, value in enumerate(values):
        if value is not None:
            present.append(value)
            names.append(clusters[number] if clusters is not None else str(number))
    if not present or not np.isfinite(present).all():
        return Interval(value=None, low=None, high=None, num=len(present))
    means = _resampled_means(np.array(present), names, bootstrap)
    low, high = np.percentile(means, [2.5, 97.5])
    mean = float(np.mean(present))
    return Interval(
        value=round(mean, 6),
        low=round(min(float(low), mean), 6),
        high=round(max(float(high), mean), 6),
        num=len(present),
    )


def difference(
    minuends: Sequence[float | None],
    subtrahends: Sequence[float | None],
    bootstrap: Bootstrap,
    clusters: Sequence[str] | None = None,
) -> Interval:
    """Paired bootstrap of the first minus the second, over the questions that both have."""
    differences: list[float | None] = []
    for minuend, subtrahend in zip(minuends, subtrahends, strict=True):
        if minuend is None or subtrahend is None:
            differences.append(None)
        else:
            differences.append(minuend - subtrahend)
    return interval(differences, bootstrap, clusters)


def _resampled_means(values: Values, names: Sequence[str], bootstrap: Bootstrap) -> Values:
    """The mean over all values of as many clusters as there are, drawn with replacement."""
    _, numbers = np.unique(np.array(names), return_inverse=True)
    sums = np.bincount(numbers, weights=values)
    sizes = np.bincount(numbers)
    generator = np.random.default_rng(bootstrap.seed)
    draws = generator.integers(0, sums.size, size=(bootstrap.num_resamples, sums.size))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    return np.asarray(means, dtype=np.float64)


def by_slice(
    rows: Sequence[Row], dimensions: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """Exact match by `dimension:value`, sorted by name.

    A slice is often a single topic or page, so its questions are drawn, not clusters of them.
    """
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
            minuend_rows = _of_same_questions(candidate_rows, system_rows)
            differences[name] = _differences(minuend_rows, system_rows, bootstrap)
    return Scores(
        candidate=subject.candidate,
        champion=subject.champion,
        num_questions=len(candidate_rows),
        golden_digest=subject.golden_digest,
        systems=systems,
        differences=differences,
    )


def _of_same_questions(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Those of `rows` whose questions `others` have, in the order of `others`."""
    by_id = {row["id"]: row for row in rows}
    return [by_id[other["id"]] for other in others]


def _metrics(rows: Sequence[Row], bootstrap: Bootstrap) -> dict[str, Interval]:
    clusters = list(map(cluster_of, rows))
    metrics: dict[str, Interval] = {}
    for metric in METRICS:
        metrics[metric] = interval(_column(rows, metric), bootstrap, clusters)
    return metrics


def _differences(
    candidate_rows: Sequence[Row], rows: Sequence[Row], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """The candidate's metrics minus those of another system, question by question."""
    clusters = list(map(cluster_of, rows))
    differences: dict[str, Interval] = {}
    for metric in METRICS:
        minuends = _column(candidate_rows, metric)
        subtrahends = _column(rows, metric)
        differences[metric] = difference(minuends, subtrahends, bootstrap, clusters)
    return differences


def _column(rows: Sequence[Row], metric: str) -> list[float | None]:
    return [row[metric] for row in rows]
