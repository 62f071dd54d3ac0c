from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.config import params
from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.window import WINDOW
from pipelines.monitoring import judging
from pipelines.monitoring.judging import Outcome, Rows
from pipelines.monitoring.signals import KnownQuestions

CONFIG = (
    params.load()
    .section(MonitorConfig)
    .model_copy(update={"num_resamples": 1000, "min_slowdown": 3.0})
)
KNOWN_QUESTIONS = KnownQuestions(
    questions=["where?"],
    answers=["Read it."],
    refusal=np.zeros(1, bool),
    golden=np.zeros(1, bool),
    vectors=np.eye(1, 16, dtype=np.float32),
)
MOSTLY_REFUSED = [True] * 60 + [False] * 40


def rows(count: int, seed: int, **columns: Any) -> Rows:
    """Traffic at random, with these columns instead."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({name: pd.Series([None] * count) for name in WINDOW.names})
    points = generator.normal(size=(count, 16)).astype(np.float32)
    values: dict[str, Any] = {
        "question": [f"Question {number}?" for number in range(count)],
        "status": "ok",
        "time": pd.Timestamp("2026-11-21", tz="UTC"),
        "total_ms": generator.lognormal(4, 0.3, count),
        "refused": generator.random(count) < 0.1,
    }
    vectors = points / np.linalg.norm(points, axis=1, keepdims=True)
    return Rows(table.assign(**values | columns), vectors)


def judge(window: Rows, baseline: Rows) -> Outcome:
    return judging.judge(CONFIG, window, baseline, KNOWN_QUESTIONS, ("output", "operations"))


@pytest.mark.parametrize(("factor", "alarms"), [(1.8, []), (4.0, ["latency"])])
def test_slower_answers_are_an_alarm_only_from_the_stated_factor_on(
    factor: float, alarms: list[str]
) -> None:
    slow = rows(100, 1).table["total_ms"] * factor
    outcome = judge(rows(100, 1, total_ms=slow), rows(300, 2))
    (latency,) = [signal for signal in outcome.signals if signal.name == "latency"]
    assert [signal.name for signal in outcome.drifting_signals] == alarms
    assert latency.p_value < 0.01
    assert latency.baseline == pytest.approx(54.6, rel=0.1)  # milliseconds, not their logarithm


def test_the_sentence_names_what_drifted_in_which_direction_with_examples() -> None:
    outcome = judge(rows(100, 1, refused=MOSTLY_REFUSED), rows(300, 2))
    text = judging.sentence(outcome, 100, "the baseline")
    assert text.startswith("Drift in 100 requests against the baseline: refusals (more)")
    assert "“Question 0?”" in text
    assert "Question 99" not in text


def test_without_drift_the_signal_nearest_to_its_threshold_is_named() -> None:
    outcome = judge(rows(100, 1), rows(300, 2))
    text = judging.sentence(outcome, 100, "the baseline")
    start = "No drift in 100 requests against the baseline, nearest to its threshold "
    assert text.startswith(start)


def test_questions_come_into_the_sentence_on_one_line_and_without_control_characters() -> None:
    hostile = ["\x1b[31m red\nline\u202e" + "x" * 500] * 60 + ["fine"] * 40
    window = rows(100, 1, refused=MOSTLY_REFUSED, question=hostile)
    text = judging.sentence(judge(window, rows(300, 2)), 100, "b")
    assert text.isprintable()
    assert len(text) < 700


def test_rows_are_sampled_to_the_limit_in_their_order_and_the_same_each_time() -> None:
    table = rows(100, 1).table
    sample = judging.sample(table, 30, 7)
    numbers = [int(question.split()[1].rstrip("?")) for question in sample["question"]]
    assert len(numbers) == 30
    assert numbers == sorted(numbers)
    assert sample.equals(judging.sample(table, 30, 7))
    assert judging.sample(table, 100, 7) is table
