"""Evidently's data drift preset on window and baseline: a page, and verdicts beside ours.

They decide nothing. What each of them would have decided, and how often wrongly, is measured in
tests/bench/test_drift_detection.py. The preset's own report computes each column's drift four times
(count, values, table, overview), which takes 10 s for a few hundred questions; here each is
computed once, by the same methods and thresholds (tests/monitoring/test_presets.py compares), and
counted as the preset counts. Numbers and categories are compared over all rows. Texts train a
classifier, whose time grows with their number, so some are sampled if there are many.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.contracts.drift import Preset
from pipelines.files import replacing
from pipelines.monitoring.judging import sample_positions

TEXTS = ("question",)
CATEGORIES = ("top_page", "refused", "status")
NUMBERS = (
    *("question_length", "answer_length", "best_score", "score_gap", "groundedness"),
    *("num_new_tokens", "total_ms", "cost", "thumb"),
)
COLUMNS = (*TEXTS, *NUMBERS, *CATEGORIES)
DRIFT_SHARE = 0.5  # of columns, the preset's own
MIN_VALUES = 5  # that a column needs on both sides
# With more rows in the baseline than this, Evidently takes another method for texts.
MANY_ROWS = 1000
METHOD_FOR_MANY_TEXTS = "abs_text_content_drift"


class Sampling(NamedTuple):
    """At most `max_texts` texts of each side are looked at, sampled with this seed."""

    max_texts: int
    seed: int


class Verdicts(NamedTuple):
    """What Evidently says: of each column, and of all together (None: nothing to look at)."""

    presets: list[Preset]
    overall: bool | None


def examine(
    window: pd.DataFrame, baseline: pd.DataFrame, sampling: Sampling, page: Path | None
) -> Verdicts:
    """Evidently's verdict of each column and of all together, written as HTML to `page`.

    Rows are contracts.window's. Columns without values on a side are left out.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently import DataDefinition, Dataset, Report

    current = _columns(window, sampling)
    reference = _columns(baseline, sampling)
    names = [name for name in COLUMNS if _is_comparable(current[name], reference[name])]
    if not names:
        return Verdicts([], None)
    definition = DataDefinition(
        text_columns=_common(TEXTS, names),
        numerical_columns=_common(NUMBERS, names),
        categorical_columns=_common(CATEGORIES, names),
    )
    metrics = [_metric(name, len(reference)) for name in names]
    with warnings.catch_warnings():
        # Of its classifier's convergence, which nobody can act upon.
        warnings.simplefilter("ignore")
        snapshot = Report(metrics, include_tests=True).run(
            Dataset.from_pandas(current[names], data_definition=definition),
            Dataset.from_pandas(reference[names], data_definition=definition),
        )
        if page is not None:
            with replacing(page) as target:
                snapshot.save_html(str(target))
    return _verdicts(snapshot.dict())


def _common(columns: Sequence[str], names: list[str]) -> list[str]:
    return [column for column in columns if column in names]


def _metric(name: str, num_rows: int) -> Any:
    from evidently.metrics import ValueDrift

    has_many_texts = name in TEXTS and num_rows > MANY_ROWS
    return ValueDrift(column=name, method=METHOD_FOR_MANY_TEXTS if has_many_texts else None)


def _is_comparable(current: "pd.Series[Any]", reference: "pd.Series[Any]") -> bool:
    if min(current.notna().sum(), reference.notna().sum()) < MIN_VALUES:
        return False
    return int(pd.concat([current, reference]).nunique()) > 1


def _columns(rows: pd.DataFrame, sampling: Sampling) -> pd.DataFrame:
    """The columns that Evidently sees.

    Texts that are not sampled are left empty, since Evidently skips what is empty, column by
    column. It writes texts into its page's script as they are, so `<` must not come through; its
    classifier sees words alone.
    """
    columns = rows.assign(
        question_length=rows["question"].str.len(),
        answer_length=rows["answer"].str.len(),
    )
    for name in NUMBERS:
        columns[name] = pd.to_numeric(columns[name], errors="coerce").astype(float)
    for name in CATEGORIES:
        values = columns[name].dropna().unique()
        columns[name] = columns[name].map({value: _without_markup(value) for value in values})
    positions: npt.NDArray[np.intp] = sample_positions(len(rows), *sampling)
    texts = columns["question"].iloc[positions]
    columns["question"] = texts.str.replace("<", " ", regex=False)
    return columns[list(COLUMNS)]


def _without_markup(value: object) -> str:
    return str(value).replace("<", " ")


def _verdicts(content: dict[str, Any]) -> Verdicts:
    """Each column's verdict; together they drift if at least half of them do, as in the preset."""
    scores = {metric["id"]: metric["value"] for metric in content["metrics"]}
    presets = [_preset(test, scores) for test in content["tests"]]
    verdicts = [preset.drifted for preset in presets if preset.drifted is not None]
    overall = None
    if verdicts and len(verdicts) == len(presets):
        overall = sum(verdicts) / len(verdicts) >= DRIFT_SHARE
    return Verdicts(sorted(presets, key=lambda preset: preset.column), overall)


def _preset(test: dict[str, Any], scores: dict[str, Any]) -> Preset:
    config = test["metric_config"]
    status = str(getattr(test["status"], "value", test["status"])).upper()
    score = scores.get(config["metric_id"])
    return Preset(
        column=config["params"]["column"],
        method=config["params"].get("method", ""),
        score=float(score) if score is not None and pd.notna(score) else None,
        drifted={"SUCCESS": False, "FAIL": True}.get(status),
    )
