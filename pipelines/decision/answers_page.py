"""The HTML page of the candidate's answers, worst first."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.contracts.scores import CANDIDATE, Interval, Scores
from pipelines.pages import render

MAX_PAGES = 3  # retrieved ones listed beside an answer


def render_answers(
    rows: list[dict[str, Any]], scores: Scores, passages: Mapping[str, Sequence[str]]
) -> str:
    """The candidate's answers beside the right ones, below a table of all metrics.

    `rows` are those of answers.parquet; `passages`: id of a question -> the texts that were shown.
    """
    candidate = scores.systems[CANDIDATE]
    answers = []
    for row in rows:
        if row["system"] == CANDIDATE:
            pages = list(dict.fromkeys(row["retrieved"]))
            facts = {"pages": pages[:MAX_PAGES], "shown": passages.get(row["id"], ())}
            answers.append(row | facts | {"is_right": _is_right(row)})
    return render(
        "answers.html.j2",
        rows=sorted(answers, key=_answer_rank),
        scores=scores,
        metrics=list(candidate.metrics),
        slices=sorted(candidate.slices.items(), key=_slice_rank),
        format_interval=_format_interval,
    )


def _is_right(row: dict[str, Any]) -> bool:
    """An unanswerable question is answered right by any refusal."""
    if row["exact_match"] is None:
        return bool(row["refusal_recall"])
    return bool(row["exact_match"])


def _answer_rank(row: dict[str, Any]) -> tuple[bool, float, str]:
    return row["is_right"], row["token_f1"] or 0.0, row["id"]


def _slice_rank(item: tuple[str, Interval]) -> tuple[float, str]:
    name, interval = item
    return interval.value or 0.0, name


def _format_interval(interval: Interval) -> str:
    if interval.value is None:
        return "-"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
