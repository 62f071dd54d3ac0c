import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.contracts.window import WINDOW
from pipelines.monitoring import presets

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = {"max_texts": 1000, "seed": 7}


def rows(count: int, latency: float, seed: int) -> pd.DataFrame:
    dice = np.random.default_rng(seed)
    made = pd.DataFrame({name: pd.Series([None] * count) for name in WINDOW.names})
    words = ["gate", "index", "release", "model", "prompt", "how", "where", "why"]
    return made.assign(
        question=[" ".join(dice.choice(words, 5)) for _ in range(count)], answer="Read it.", status="ok", refused=dice.random(count) < 0.5, total_ms=dice.normal(latency, 1, count), thumb=[-1.0, 1.0, *[float("nan")] * (count - 2)]
    )  # fmt: skip


def test_evidently_gives_a_verdict_a_column_and_one_over_all_and_a_page_readable_without_a_network(tmp_path: Path) -> None:
    found, overall = presets.examine(rows(200, 20, 1), rows(200, 10, 2), tmp_path / "page.html", **TEXTS)
    by_name = {preset.column: preset for preset in found}
    assert sorted(by_name) == ["question", "question_length", "refused", "total_ms"]
    assert by_name["total_ms"].drifted is True
    assert by_name["total_ms"].method == "K-S p_value"
    assert by_name["refused"].drifted is False
    assert overall is False  # fewer than half of the columns
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(page) > 100_000
    assert re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css)"', page) == []


def test_each_verdict_is_the_one_of_evidentlys_preset_as_it_comes(tmp_path: Path) -> None:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    mine, theirs = rows(60, 20, 1).assign(question="another thing entirely"), rows(60, 10, 2)
    found, overall = presets.examine(mine, theirs, None, **TEXTS)
    kept = [preset.column for preset in found]
    definition = DataDefinition(text_columns=["question"], numerical_columns=["question_length", "total_ms"], categorical_columns=["refused"])
    frames = [Dataset.from_pandas(presets._columns(table, np.arange(len(table)))[kept], data_definition=definition) for table in (mine, theirs)]
    tests = Report([DataDriftPreset()], include_tests=True).run(*frames).dict()["tests"]
    theirs_say = {test["metric_config"]["params"].get("column"): "FAIL" in str(test["status"]) for test in tests}
    assert theirs_say == {None: overall} | {preset.column: preset.drifted for preset in found}
    assert overall is True


def test_of_many_rows_the_texts_alone_are_drawn_and_each_verdict_is_the_one_over_all_rows() -> None:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    dice = np.random.default_rng(3)
    pages = [f"page-{number}" for number in range(30)]
    mine, theirs = (rows(1500, 10, seed).assign(top_page=dice.choice(pages, 1500)) for seed in (1, 2))
    mine.loc[:299, "question"] = "another thing entirely"
    found, _ = presets.examine(mine, theirs, None, max_texts=200, seed=7)
    kept = [preset.column for preset in found]
    definition = DataDefinition(text_columns=["question"], numerical_columns=["question_length", "total_ms"], categorical_columns=["refused", "top_page"])
    frames = [Dataset.from_pandas(presets._columns(table, np.arange(len(table)))[kept], data_definition=definition) for table in (mine, theirs)]
    snapshot = Report([DataDriftPreset()], include_tests=True).run(*frames).dict()
    theirs_say = {test["metric_config"]["params"]["column"]: "FAIL" in str(test["status"]) for test in snapshot["tests"] if "column" in test["metric_config"]["params"]}
    assert {preset.column: preset.drifted for preset in found} == theirs_say
    scores = {one["metric_name"].split("column=")[1].split(",")[0].rstrip(")"): one["value"] for one in snapshot["metrics"] if "ValueDrift(column=" in one["metric_name"]}
    assert {preset.column: preset.score for preset in found if preset.column != "question"} == {name: pytest.approx(float(score)) for name, score in scores.items() if name != "question"}
    assert next(preset.method for preset in found if preset.column == "question") == "abs_text_content_drift"


def test_what_users_wrote_is_no_markup_on_evidentlys_page(tmp_path: Path) -> None:
    attack = "</script><script>alert(1)</script>"
    presets.examine(rows(20, 20, 1).assign(question=attack, top_page=attack), rows(20, 10, 2).assign(top_page="a"), tmp_path / "page.html", **TEXTS)
    assert attack not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_columns_without_values_are_left_out_and_nothing_to_look_at_is_no_verdict(tmp_path: Path) -> None:
    empty = rows(3, 10, 1)
    assert presets.examine(empty, rows(200, 10, 2), tmp_path / "page.html", **TEXTS) == ([], None)
    assert not (tmp_path / "page.html").exists()
