import numpy as np
import numpy.typing as npt

from pipelines.monitoring.calibration import (
    Calibration,
    Column,
    Finding,
    Kernel,
    Signals,
    is_alarming,
    judge,
)

NUM_ROWS = 300
NUM_WINDOW = 60


def noise(generator: np.random.Generator) -> Signals:
    """Signals of every awkward kind that are the same in window and rest.

    Rare events, heavy tails, values that are mostly missing, a weighted similarity.
    """
    is_present = generator.random(NUM_ROWS) < 0.2
    gaps = np.where(is_present, generator.normal(size=NUM_ROWS), np.nan)
    rare = (generator.random(NUM_ROWS) < 0.006).astype(float)
    tail = generator.exponential(size=NUM_ROWS) ** 3
    plain = generator.normal(size=NUM_ROWS)
    points = generator.normal(size=(NUM_ROWS, 8))
    weight = generator.exponential(size=NUM_ROWS)
    columns = [
        Column("rare", rare, 1),
        Column("tail", tail, 0),
        Column("gaps", gaps, 0),
        Column("plain", plain, -1),
    ]
    kernel = Kernel("similarity", similarity(points, weight), True)
    return Signals(columns, [kernel], NUM_WINDOW)


def similarity(
    points: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    nearness = np.exp((unit @ unit.T - 1) / 0.3)
    return np.asarray(nearness * np.outer(weight, weight), dtype=np.float32)


def judge_column(column: Column, num_window: int = NUM_WINDOW) -> Finding:
    signals = Signals([column], [], num_window)
    (finding,), _ = judge(signals, Calibration(500, 0.01, seed=7))
    return finding


def test_false_alarms_over_all_signals_come_as_often_as_stated() -> None:
    num_alarms = 0
    for turn in range(200):
        signals = noise(np.random.default_rng(turn))
        findings, _ = judge(signals, Calibration(500, 0.1, seed=turn))
        num_alarms += any(is_alarming(finding, 0.1, 0.0) for finding in findings)
    # 20 are expected; a correct test gives a number outside of these once in 700 runs.
    assert 8 <= num_alarms <= 34


def test_a_shift_is_found_in_its_signal_with_direction_and_values() -> None:
    signals = noise(np.random.default_rng(1))
    values = np.random.default_rng(2).normal(size=NUM_ROWS)
    values[:NUM_WINDOW] += 1.0
    signals.columns.append(Column("shifted", values, 0))
    findings, _ = judge(signals, Calibration(1000, 0.01, seed=7))
    (alarm,) = [finding for finding in findings if is_alarming(finding, 0.01, 0.1)]
    assert (alarm.name, alarm.direction) == ("shifted", 1)
    assert alarm.statistic > alarm.threshold
    assert alarm.effect.window is not None
    assert alarm.effect.baseline is not None
    assert alarm.effect.window - alarm.effect.baseline > 0.7


def test_less_is_no_drift_of_a_signal_of_which_only_more_counts() -> None:
    values = np.random.default_rng(2).normal(size=NUM_ROWS)
    values[:NUM_WINDOW] -= 2.0
    finding = judge_column(Column("failures", values, 1))
    assert not is_alarming(finding, 0.05, 0.0)


def test_rows_near_to_one_another_are_found_though_each_alone_is_ordinary() -> None:
    generator = np.random.default_rng(3)
    points = generator.normal(size=(NUM_ROWS, 64))
    points[:20] = generator.normal(size=64) + 0.3 * generator.normal(size=(20, 64))
    kernel = Kernel("topic", similarity(points, np.ones(NUM_ROWS)), True)
    (finding,), _ = judge(Signals([], [kernel], NUM_WINDOW), Calibration(500, 0.01, seed=7))
    assert is_alarming(finding, 0.01, 0.1)


def test_a_certain_but_small_change_is_a_trifle() -> None:
    values = np.random.default_rng(2).normal(size=20_000)
    values[:10_000] += 0.08
    finding = judge_column(Column("length", values, 0), num_window=10_000)
    assert finding.p_value <= 0.01
    assert not is_alarming(finding, 0.01, 0.1)
    assert is_alarming(finding, 0.01, 0.05)


def test_signals_without_values_or_with_equal_ones_are_named_and_not_judged() -> None:
    thumbs = Column("thumbs", np.full(NUM_ROWS, np.nan), 1)
    flags = Column("flags", np.zeros(NUM_ROWS), 1)
    signals = Signals([thumbs, flags], [], NUM_WINDOW)
    findings, constant = judge(signals, Calibration(500, 0.01, seed=7))
    assert findings == []
    assert constant == ["thumbs", "flags"]


def test_a_signal_without_values_in_the_window_raises_no_alarm() -> None:
    values = np.random.default_rng(2).normal(size=NUM_ROWS)
    values[:NUM_WINDOW] = np.nan
    finding = judge_column(Column("groundedness", values, 0))
    assert (finding.effect.window, finding.effect.size) == (None, 0.0)
    assert not is_alarming(finding, 0.01, 0.1)


def test_the_same_rows_and_seed_give_the_same_numbers() -> None:
    signals = noise(np.random.default_rng(4))
    calibration = Calibration(500, 0.01, seed=7)
    assert judge(signals, calibration) == judge(signals, calibration)
