import numpy as np
import numpy.typing as npt

from pipelines.monitoring.calibration import Column, Kernel, alarmed, judge

ROWS, WINDOW = 300, 60


def noise(dice: np.random.Generator) -> tuple[list[Column], list[Kernel]]:
    """Signals of every awkward kind, alike in window and rest: rare events, heavy tails, values that are mostly missing, a weighted likeness."""
    gaps = np.where(dice.random(ROWS) < 0.2, dice.normal(size=ROWS), np.nan)
    columns = [
        Column("rare", (dice.random(ROWS) < 0.006).astype(float), 1),
        Column("tail", dice.exponential(size=ROWS) ** 3, 0),
        Column("gaps", gaps, 0),
        Column("plain", dice.normal(size=ROWS), -1),
    ]
    return columns, [Kernel("likeness", likeness(dice.normal(size=(ROWS, 8)), dice.exponential(size=ROWS)), True)]


def likeness(points: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(np.exp((unit @ unit.T - 1) / 0.3) * np.outer(weight, weight), dtype=np.float32)


def test_false_alarms_over_all_signals_together_come_as_often_as_asked_for() -> None:
    alarms = 0
    for turn in range(200):
        columns, kernels = noise(np.random.default_rng(turn))
        findings, _ = judge(columns, kernels, WINDOW, 500, 0.1, turn)
        alarms += any(alarmed(finding, 0.1, 0.0) for finding in findings)
    assert 8 <= alarms <= 34  # 20 expected; outside is one run in 700 of a right test


def test_a_shift_is_found_in_the_signal_that_shifted_with_its_direction_and_values() -> None:
    columns, kernels = noise(np.random.default_rng(1))
    values = np.random.default_rng(2).normal(size=ROWS)
    values[:WINDOW] += 1.0
    findings, _ = judge([*columns, Column("shifted", values, 0)], kernels, WINDOW, 1000, 0.01, 7)
    (found,) = [finding for finding in findings if alarmed(finding, 0.01, 0.1)]
    assert (found.name, found.direction) == ("shifted", 1)
    assert found.statistic > found.threshold
    assert found.window is not None
    assert found.baseline is not None
    assert found.window - found.baseline > 0.7


def test_less_is_no_drift_of_a_signal_of_which_only_more_is() -> None:
    values = np.random.default_rng(2).normal(size=ROWS)
    values[:WINDOW] -= 2.0
    (found,), _ = judge([Column("failures", values, 1)], [], WINDOW, 500, 0.05, 7)
    assert not alarmed(found, 0.05, 0.0)


def test_rows_that_are_near_to_one_another_are_found_though_each_alone_is_ordinary() -> None:
    dice = np.random.default_rng(3)
    points = dice.normal(size=(ROWS, 64))
    points[:20] = dice.normal(size=64) + 0.3 * dice.normal(size=(20, 64))
    (found,), _ = judge([], [Kernel("topic", likeness(points, np.ones(ROWS)), True)], WINDOW, 500, 0.01, 7)
    assert alarmed(found, 0.01, 0.1)


def test_a_certain_but_small_change_is_a_trifle() -> None:
    values = np.random.default_rng(2).normal(size=20_000)
    values[:10_000] += 0.08
    (found,), _ = judge([Column("length", values, 0)], [], 10_000, 500, 0.01, 7)
    assert found.p_value <= 0.01
    assert not alarmed(found, 0.01, 0.1)
    assert alarmed(found, 0.01, 0.05)


def test_signals_without_values_or_all_alike_are_named_and_not_judged() -> None:
    findings, unmeasured = judge([Column("thumbs", np.full(ROWS, np.nan), 1), Column("flags", np.zeros(ROWS), 1)], [], WINDOW, 500, 0.01, 7)
    assert findings == []
    assert unmeasured == ["thumbs", "flags"]


def test_a_signal_that_the_window_has_no_values_of_raises_no_alarm_and_breaks_nothing() -> None:
    values = np.random.default_rng(2).normal(size=ROWS)
    values[:WINDOW] = np.nan
    (found,), _ = judge([Column("groundedness", values, 0)], [], WINDOW, 500, 0.01, 7)
    assert (found.window, found.effect) == (None, 0.0)
    assert not alarmed(found, 0.01, 0.1)


def test_the_same_rows_and_seed_give_the_same_numbers() -> None:
    columns, kernels = noise(np.random.default_rng(4))
    assert judge(columns, kernels, WINDOW, 500, 0.01, 7) == judge(columns, kernels, WINDOW, 500, 0.01, 7)
