"""The HTML page of the candidate's answers, worst first."""

from typing import Any

from pipelines.contracts.scores import CANDIDATE, Interval, Scores
from pipelines.pages import render

MAX_PAGES = 3  # retrieved ones listed beside an answer


def render_answers(rows: list[dict[str, Any]], scores: Scores) -> str:
    """The candidate's answers beside the expected ones, below a table of all metrics.

    `rows` are those of answers.parquet.
    """
    candidate = scores.systems[CANDIDATE]
    answers = []
    for row in rows:
        if row["system"] == CANDIDATE:
            pages = list(dict.fromkeys(row["retrieved"]))
            answers.append(row | {"pages": pages[:MAX_PAGES]})
    return render(
        "answers.html.j2",
        rows=sorted(answers, key=_answer_rank),
        scores=scores,
        metrics=list(candidate.metrics),
        slices=sorted(candidate.slices.items(), key=_slice_rank),
        format_interval=_format_interval,
    )


def _answer_rank(row: dict[str, Any]) -> tuple[float, float, str]:
    return row["exact_match"], row["token_f1"], row["id"]


def _slice_rank(item: tuple[str, Interval]) -> tuple[float, str]:
    name, interval = item
    return interval.value or 0.0, name


def _format_interval(interval: Interval) -> str:
    if interval.value is None:
        return "-"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
