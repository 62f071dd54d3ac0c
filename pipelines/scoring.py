"""Knows metrics of answers and of retrieval, and their bootstrap intervals."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.comparison import normalized
from pipelines.contracts.scores import Interval

Values = npt.NDArray[np.float64]


def exact_match(answer: str, expected: str) -> float:
    return float(normalized(answer) == normalized(expected))


def token_f1(answer: str, expected: str) -> float:
    """Harmonic mean of precision and recall over words (Rajpurkar et al. 2016)."""
    mine, wanted = normalized(answer).split(), normalized(expected).split()
    common = sum((Counter(mine) & Counter(wanted)).values())
    if not common:
        return float(mine == wanted)
    precision, recall = common / len(mine), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def rouge_l(answers: Sequence[str], expected: Sequence[str]) -> list[float]:
    """ROUGE-L F1 of each pair (Lin 2004), by the `rouge_score` package, without stemming."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    return [float(scorer.score(target, answer)["rougeL"].fmeasure) for answer, target in zip(answers, expected, strict=True)]


def retrieval(retrieved: Sequence[str], page: str) -> dict[str, float]:
    """hit@k, MRR and nDCG@10 of one ranking of pages with one relevant page; a page counts where it first occurs."""
    pages = list(dict.fromkeys(retrieved))
    rank = pages.index(page) + 1 if page in pages else None
    found: dict[str, float] = {f"hit_at_{depth}": float(rank is not None and rank <= depth) for depth in (1, 3, 5)}
    found["mrr"] = 1 / rank if rank else 0.0
    found["ndcg_at_10"] = 1 / math.log2(rank + 1) if rank and rank <= 10 else 0.0
    return found


def interval(values: Sequence[float | None], num_resamples: int, seed: int) -> Interval:
    """Mean and 95 % percentile bootstrap interval (Efron 1979) over the values that are not None."""
    present = np.array([value for value in values if value is not None], dtype=np.float64)
    if present.size == 0 or not np.isfinite(present).all():
        return Interval(value=None, low=None, high=None, num=int(present.size))
    low, high = np.percentile(_means(present, num_resamples, seed), [2.5, 97.5])
    return Interval(value=round(float(present.mean()), 6), low=round(float(low), 6), high=round(float(high), 6), num=int(present.size))


def difference(mine: Sequence[float | None], theirs: Sequence[float | None], num_resamples: int, seed: int) -> Interval:
    """Paired bootstrap of mine minus theirs over the questions that both have."""
    pairs = [left - right for left, right in zip(mine, theirs, strict=True) if left is not None and right is not None]
    return interval(pairs, num_resamples, seed)


def _means(values: Values, num_resamples: int, seed: int) -> Values:
    dice = np.random.default_rng(seed)
    drawn = dice.integers(0, values.size, size=(num_resamples, values.size))
    return np.asarray(values[drawn].mean(axis=1), dtype=np.float64)


def by_slice(rows: Sequence[dict[str, Any]], dimensions: Sequence[str], num_resamples: int, seed: int) -> dict[str, Interval]:
    """Exact match by `dimension:value`, sorted by name."""
    groups: dict[str, list[float | None]] = {}
    for row in rows:
        for dimension in dimensions:
            if row[dimension] is not None:
                groups.setdefault(f"{dimension}:{row[dimension]}", []).append(row["exact_match"])
    return {name: interval(groups[name], num_resamples, seed) for name in sorted(groups)}
