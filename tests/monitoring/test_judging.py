from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.config import params
from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.window import WINDOW
from pipelines.monitoring import judging
from pipelines.monitoring.judging import Judged, Rows
from pipelines.monitoring.signals import Known

CONFIG: MonitorConfig = params.load().monitor.model_copy(update={"num_resamples": 1000, "min_slowdown": 3.0})
KNOWN = Known(["where?"], ["Read it."], np.zeros(1, bool), np.zeros(1, bool), np.eye(1, 16, dtype=np.float32))


def rows(count: int, seed: int, **changed: Any) -> Rows:
    dice = np.random.default_rng(seed)
    made = pd.DataFrame({name: pd.Series([None] * count) for name in WINDOW.names})
    points = dice.normal(size=(count, 16)).astype(np.float32)
    facts: dict[str, Any] = {
        "question": [f"Question {number}?" for number in range(count)],
        "status": "ok",
        "time": pd.Timestamp("2026-11-21", tz="UTC"),
        "total_ms": dice.lognormal(4, 0.3, count),
        "refused": dice.random(count) < 0.1,
    }
    return Rows(made.assign(**facts | changed), points / np.linalg.norm(points, axis=1, keepdims=True))


def judged(window: Rows, baseline: Rows) -> Judged:
    return judging.judge(CONFIG, window, baseline, KNOWN, ("output", "operations"))


@pytest.mark.parametrize(("times", "drifted"), [(1.8, []), (4.0, ["latency"])])
def test_slower_answers_are_an_alarm_from_the_stated_factor_on_since_latency_follows_the_load(times: float, drifted: list[str]) -> None:
    slow = rows(100, 1).table["total_ms"] * times
    found = judged(rows(100, 1, total_ms=slow), rows(300, 2))
    latency = next(signal for signal in found.signals if signal.name == "latency")
    assert [signal.name for signal in found.signals if signal.drifted] == drifted
    assert latency.p_value < 0.01
    assert latency.baseline == pytest.approx(54.6, rel=0.1)  # milliseconds, no logarithms


def test_the_sentence_names_what_drifted_which_way_and_gives_examples() -> None:
    refused = [True] * 60 + [False] * 40
    found = judged(rows(100, 1, refused=refused), rows(300, 2))
    text = judging.sentence(found, 100, "the baseline")
    assert text.startswith("Drift in 100 requests against the baseline: refusals (more)")
    assert "“Question 0?”" in text
    assert "Question 99" not in text


def test_without_drift_the_signal_nearest_to_its_threshold_is_named() -> None:
    found = judged(rows(100, 1), rows(300, 2))
    assert judging.sentence(found, 100, "the baseline").startswith("No drift in 100 requests against the baseline, nearest to its threshold ")


def test_what_users_wrote_comes_into_the_sentence_on_one_line_and_without_control_characters() -> None:
    hostile = ["\x1b[31m red\nline\u202e" + "x" * 500] * 60 + ["fine"] * 40
    found = judged(rows(100, 1, refused=[True] * 60 + [False] * 40, question=hostile), rows(300, 2))
    text = judging.sentence(found, 100, "b")
    assert text.isprintable()
    assert len(text) < 700


def test_rows_are_drawn_to_the_limit_in_their_order_and_the_same_each_time() -> None:
    whole = rows(100, 1).table
    some = judging.drawn(whole, 30, 7)
    places = [int(question.split()[1].rstrip("?")) for question in some["question"]]
    assert len(places) == 30
    assert places == sorted(places)
    assert some.equals(judging.drawn(whole, 30, 7))
    assert judging.drawn(whole, 100, 7) is whole
