import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.contracts.window import WINDOW
from pipelines.monitoring import presets
from pipelines.monitoring.presets import Sampling, Verdicts

pytestmark = pytest.mark.filterwarnings("ignore")
SAMPLING = Sampling(max_texts=1000, seed=7)
ALL_TEXTS = Sampling(max_texts=10_000, seed=7)
WORDS = ["gate", "index", "release", "model", "prompt", "how", "where", "why"]


def rows(count: int, latency: float, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({name: pd.Series([None] * count) for name in WINDOW.names})
    return table.assign(
        question=[" ".join(generator.choice(WORDS, 5)) for _ in range(count)],
        answer="Read it.",
        status="ok",
        refused=generator.random(count) < 0.5,
        total_ms=generator.normal(latency, 1, count),
        thumb=[-1.0, 1.0, *[float("nan")] * (count - 2)],
    )


def run_evidently(
    window: pd.DataFrame, baseline: pd.DataFrame, columns: list[str]
) -> dict[str, Any]:
    """What Evidently's own preset reports of these columns."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(
        text_columns=["question"],
        numerical_columns=["question_length", "total_ms"],
        categorical_columns=[name for name in ("refused", "top_page") if name in columns],
    )
    datasets = []
    for table in (window, baseline):
        frame = presets._columns(table, ALL_TEXTS)[columns]
        datasets.append(Dataset.from_pandas(frame, data_definition=definition))
    report: dict[str, Any] = Report([DataDriftPreset()], include_tests=True).run(*datasets).dict()
    return report


def verdicts_of(report: dict[str, Any]) -> dict[str | None, bool]:
    """Column -> whether it drifted; None is the verdict over all columns."""
    verdicts = {}
    for test in report["tests"]:
        column = test["metric_config"]["params"].get("column")
        verdicts[column] = "FAIL" in str(test["status"])
    return verdicts


def test_evidently_judges_each_column_and_all_together_on_a_page_that_needs_no_network(
    tmp_path: Path,
) -> None:
    page = tmp_path / "page.html"
    verdicts = presets.examine(rows(200, 20, 1), rows(200, 10, 2), SAMPLING, page)
    by_column = {preset.column: preset for preset in verdicts.presets}
    assert sorted(by_column) == ["question", "question_length", "refused", "total_ms"]
    assert by_column["total_ms"].drifted is True
    assert by_column["total_ms"].method == "K-S p_value"
    assert by_column["refused"].drifted is False
    assert verdicts.overall is False  # fewer than half of the columns
    content = page.read_text(encoding="utf-8")
    assert len(content) > 100_000
    assert re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css)"', content) == []


def test_each_verdict_is_that_of_evidentlys_own_preset() -> None:
    window = rows(60, 20, 1).assign(question="another thing entirely")
    baseline = rows(60, 10, 2)
    verdicts = presets.examine(window, baseline, SAMPLING, None)
    by_column: dict[str | None, bool | None] = {None: verdicts.overall}
    by_column |= {preset.column: preset.drifted for preset in verdicts.presets}
    columns = [preset.column for preset in verdicts.presets]
    assert verdicts_of(run_evidently(window, baseline, columns)) == by_column
    assert verdicts.overall is True


def test_only_texts_are_sampled_and_each_verdict_is_the_one_over_all_rows() -> None:
    generator = np.random.default_rng(3)
    pages = [f"page-{number}" for number in range(30)]
    window = rows(1500, 10, 1).assign(top_page=generator.choice(pages, 1500))
    baseline = rows(1500, 10, 2).assign(top_page=generator.choice(pages, 1500))
    window.loc[:299, "question"] = "another thing entirely"
    verdicts = presets.examine(window, baseline, Sampling(max_texts=200, seed=7), None)
    by_column = {preset.column: preset for preset in verdicts.presets}

    report = run_evidently(window, baseline, list(by_column))

    by_evidently = verdicts_of(report)
    by_evidently.pop(None, None)
    assert {name: preset.drifted for name, preset in by_column.items()} == by_evidently
    for metric in report["metrics"]:
        match = re.search(r"ValueDrift\(column=([^,)]+)", metric["metric_name"])
        if match and match[1] != "question":
            assert by_column[match[1]].score == pytest.approx(float(metric["value"]))
    assert by_column["question"].method == "abs_text_content_drift"


def test_what_users_wrote_is_not_markup_on_evidentlys_page(tmp_path: Path) -> None:
    attack = "</script><script>alert(1)</script>"
    window = rows(20, 20, 1).assign(question=attack, top_page=attack)
    baseline = rows(20, 10, 2).assign(top_page="a")
    presets.examine(window, baseline, SAMPLING, tmp_path / "page.html")
    assert attack not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_columns_without_values_are_left_out_and_nothing_to_look_at_is_no_verdict(
    tmp_path: Path,
) -> None:
    page = tmp_path / "page.html"
    verdicts = presets.examine(rows(3, 10, 1), rows(200, 10, 2), SAMPLING, page)
    assert verdicts == Verdicts([], None)
    assert not page.exists()
