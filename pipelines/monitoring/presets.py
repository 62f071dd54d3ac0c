"""Knows Evidently: what its data drift preset says of window and baseline as it comes, as a page to look at and as verdicts shown beside ours.

They decide nothing. What each of them would have decided, and how often wrongly, is measured in tests/bench/test_drift_detection.py. The
preset's own report computes each column's drift four times (count, values, table, overview), which takes 10 s for a few hundred questions;
here each is computed once, by the same methods and thresholds (tests/monitoring/test_presets.py compares), and counted as the preset counts.
Numbers and categories are compared over all rows. Texts train a classifier, whose time grows with their number: of many rows some are drawn.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.contracts.drift import Preset
from pipelines.files import replacing
from pipelines.monitoring.judging import drawn_places

TEXT, CATEGORIES = ("question",), ("top_page", "refused", "status")
NUMBERS = ("question_length", "answer_length", "best_score", "score_gap", "groundedness", "num_new_tokens", "total_ms", "cost", "thumb")
DRIFT_SHARE = 0.5  # of columns, the preset's own
FEW = 5  # values that a column needs on both sides
MANY, OF_MANY = 1000, "abs_text_content_drift"  # from more rows of the baseline on Evidently takes other methods; this one for texts


def examine(window: pd.DataFrame, baseline: pd.DataFrame, page: Path | None, *, max_texts: int, seed: int) -> tuple[list[Preset], bool | None]:
    """Evidently's verdict of each column and of all together (drift in half of the columns), written as HTML to `page`.

    Rows are contracts.window's; of each side's texts at most `max_texts` are drawn. Columns without values on a side are left out. None where there is no column to look at.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    mine, theirs = (_columns(rows, drawn_places(len(rows), max_texts, seed)) for rows in (window, baseline))
    kept = [name for name in mine if mine[name].notna().sum() >= FEW and theirs[name].notna().sum() >= FEW and pd.concat([mine[name], theirs[name]]).nunique() > 1]
    if not kept:
        return [], None
    chosen = {kind: [name for name in names if name in kept] for kind, names in (("text_columns", TEXT), ("numerical_columns", NUMBERS), ("categorical_columns", CATEGORIES))}
    definition = DataDefinition(**chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its classifier's convergence, which nobody can act upon
        report = Report([ValueDrift(column=name, method=OF_MANY if name in TEXT and len(theirs) > MANY else None) for name in kept], include_tests=True)
        snapshot = report.run(Dataset.from_pandas(mine[kept], data_definition=definition), Dataset.from_pandas(theirs[kept], data_definition=definition))
        if page is not None:
            with replacing(page) as target:
                snapshot.save_html(str(target))
    return _verdicts(snapshot)


def _columns(rows: pd.DataFrame, places: npt.NDArray[np.intp]) -> pd.DataFrame:
    """The columns that Evidently sees; texts of the rows at `places` alone, since it passes over what is empty, column by column.

    Evidently writes texts into its page's script as they are, so `<` must not come through; its classifier sees words alone.
    """
    made = rows.assign(question_length=rows["question"].str.len(), answer_length=rows["answer"].str.len())
    for name in NUMBERS:
        made[name] = pd.to_numeric(made[name], errors="coerce").astype(float)
    for name in CATEGORIES:
        made[name] = made[name].map({value: str(value).replace("<", " ") for value in made[name].dropna().unique()})
    made["question"] = made["question"].iloc[places].str.replace("<", " ", regex=False)
    return made[[*TEXT, *NUMBERS, *CATEGORIES]]


def _verdicts(snapshot: Any) -> tuple[list[Preset], bool | None]:
    """Each column's verdict; all together there is drift where at least half of them drifted, as in the preset."""
    content = snapshot.dict()
    scores = {metric["id"]: metric["value"] for metric in content["metrics"]}
    found = []
    for test in content["tests"]:
        params, number = test["metric_config"]["params"], test["metric_config"]["metric_id"]
        status = str(getattr(test["status"], "value", test["status"])).upper()
        score = float(scores[number]) if number in scores else float("nan")
        found.append(Preset(column=params["column"], method=params.get("method", ""), score=score if pd.notna(score) else None, drifted={"SUCCESS": False, "FAIL": True}.get(status)))
    told = [preset.drifted for preset in found if preset.drifted is not None]
    overall = sum(told) / len(told) >= DRIFT_SHARE if told and len(told) == len(found) else None
    return sorted(found, key=lambda preset: preset.column), overall
