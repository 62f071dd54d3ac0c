"""Tests whether a window differs from its baseline by more than chance, over all signals together.

Each signal's statistic is computed again for `num_resamples` random divisions of the pooled rows
into a window of the same size and a rest (Fisher 1935; Westfall and Young 1993, single-step maxT).
If window and baseline are of the same kind, the true division is one of these at random, so the
alarm over all signals together is false in at most `false_alarm_rate` of windows, whatever the
signals' shapes, however rare their events, and however they depend on each other. Divisions of the
baseline alone do not give that: an event that a baseline of 500 rows never saw has no spread there,
and its first occurrence would always raise the alarm.

Signals with heavy tails must not raise the bar for the others: each is measured in units of its
own 99 % point.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
DIVISIONS_AT_ONCE = 250  # bounds the memory: this many rows of the pooled size
MIN_VALUES = 10  # of a column over window and baseline, before it is tested


@dataclass(frozen=True)
class Column:
    """A number for each row; the statistic is the difference of the means.

    NaN: the signal does not apply to that row.
    """

    name: str
    values: Numbers  # shape (rows,)
    side: int  # 1: only more is drift, -1: only less, 0: both


@dataclass(frozen=True)
class Kernel:
    """A similarity of every two rows; the statistic is how similar the window's rows are.

    Only more is drift. `is_centred`: measured against the similarity to the baseline's rows
    (maximum mean discrepancy, Gretton et al. 2012).
    """

    name: str
    similarity: Matrix  # shape (rows, rows)
    is_centred: bool


@dataclass(frozen=True)
class Signals:
    """What is tested on the pooled rows; the first `num_window` of them are the window."""

    columns: list[Column]
    kernels: list[Kernel]
    num_window: int

    @property
    def names(self) -> list[str]:
        """The columns' names, then the kernels'."""
        columns = [column.name for column in self.columns]
        return columns + [kernel.name for kernel in self.kernels]

    @property
    def sides(self) -> npt.NDArray[np.int_]:
        """Which change is drift, in the order of `names`: 1 more, -1 less, 0 both."""
        columns = [column.side for column in self.columns]
        return np.array(columns + [1] * len(self.kernels))


@dataclass(frozen=True)
class Effect:
    """How large a difference is.

    `size`: the difference in pooled standard deviations (columns), or the excess in standard
    deviations under no drift (kernels). `window` and `baseline`: the means (columns).
    """

    size: float
    window: float | None = None
    baseline: float | None = None


@dataclass(frozen=True)
class Finding:
    """One signal's outcome.

    `statistic` and `threshold` are in units of the signal's own 99 % point under no drift;
    `p_value` is over all signals.
    """

    name: str
    statistic: float
    threshold: float
    p_value: float
    direction: int
    effect: Effect


@dataclass(frozen=True)
class Calibration:
    """How the test is calibrated."""

    num_resamples: int
    false_alarm_rate: float
    seed: int


def judge(signals: Signals, calibration: Calibration) -> tuple[list[Finding], list[str]]:
    """Findings of all signals that vary, and the names of those that do not."""
    varying = Signals([], signals.kernels, signals.num_window)
    constant: list[str] = []
    for column in signals.columns:
        if _varies(column):
            varying.columns.append(column)
        else:
            constant.append(column.name)
    if not varying.names:
        return [], constant
    statistics = _statistics(varying, calibration)
    spread = statistics.std(axis=0)
    deviations = (statistics - statistics.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    units = _in_units_of_tails(deviations, varying.sides)
    highest = units.max(axis=1)
    threshold = _threshold(highest, calibration.false_alarm_rate)
    effects = [_column_effect(column, varying.num_window) for column in varying.columns]
    kernel_sizes = deviations[0, len(effects) :].tolist()
    effects += map(Effect, kernel_sizes)
    findings: list[Finding] = []
    for name, statistic, effect in zip(varying.names, units[0], effects, strict=True):
        p_value = float((highest >= statistic - 1e-6).mean())
        direction = int(np.sign(effect.size))
        findings.append(Finding(name, float(statistic), threshold, p_value, direction, effect))
    return findings, constant


def is_alarming(finding: Finding, false_alarm_rate: float, min_effect: float) -> bool:
    """Whether a signal has drifted: beyond chance over all signals, and by more than a trifle."""
    is_beyond_chance = finding.p_value <= false_alarm_rate
    return is_beyond_chance and abs(finding.effect.size) >= min_effect


def _varies(column: Column) -> bool:
    """Whether there are enough values, and more than one.

    Asked of the pool alone, so that the answer is the same for every division.
    """
    values = column.values[np.isfinite(column.values)]
    has_enough = values.size >= MIN_VALUES
    return bool(has_enough and np.ptp(values) > 0)


def _in_units_of_tails(deviations: Numbers, sides: npt.NDArray[np.int_]) -> Numbers:
    """Each statistic on the side that counts, divided by its own 99 % point under no drift."""
    has_two_sides = sides == 0
    on_one_side = deviations * np.where(has_two_sides, 1, sides)
    extreme = np.where(has_two_sides, np.abs(deviations), on_one_side)
    point = np.quantile(extreme, 0.99, axis=0)
    return np.asarray(extreme / np.where(point > 0, point, np.inf), dtype=np.float64)


def _threshold(highest: Numbers, false_alarm_rate: float) -> float:
    """The value that the highest statistic of a division exceeds at the rate of false alarms."""
    num_false_alarms = int(np.floor(false_alarm_rate * highest.size))
    descending = np.sort(highest)[::-1]
    return float(descending[max(0, num_false_alarms - 1)])


def _column_effect(column: Column, num_window: int) -> Effect:
    window = _mean(column.values[:num_window])
    baseline = _mean(column.values[num_window:])
    if window is None or baseline is None:
        return Effect(0.0, window, baseline)
    spread = float(np.nanstd(column.values))
    return Effect((window - baseline) / spread, window, baseline)


def _mean(values: Numbers) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def _statistics(signals: Signals, calibration: Calibration) -> Numbers:
    """Shape (1 + num_resamples, signals); row 0 is the true division."""
    num_rows = _num_rows(signals)
    values = np.zeros((num_rows, 0))
    if signals.columns:
        values = np.stack([column.values for column in signals.columns], axis=1)
    is_present = np.isfinite(values)
    present = is_present.astype(np.float32)
    numbers = np.where(is_present, values, 0.0).astype(np.float32)
    similarities = list(map(_prepare, signals.kernels))
    blocks: list[Numbers] = []
    for divisions in _divisions(num_rows, signals.num_window, calibration):
        statistics: list[Numbers | Matrix] = [_mean_gaps(divisions, numbers, present)]
        for similarity in similarities:
            statistics.append(_similarity_inside(divisions, similarity))
        blocks.append(np.concatenate(statistics, axis=1))
    return np.concatenate(blocks).astype(np.float64)


def _num_rows(signals: Signals) -> int:
    if signals.columns:
        return int(signals.columns[0].values.size)
    return int(signals.kernels[0].similarity.shape[0])


def _divisions(num_rows: int, num_window: int, calibration: Calibration) -> Iterator[Matrix]:
    """Blocks of divisions, shape (divisions, rows): 1 for a row of the window, 0 for the rest."""
    generator = np.random.default_rng(calibration.seed)
    num_divisions = calibration.num_resamples + 1
    for start in range(0, num_divisions, DIVISIONS_AT_ONCE):
        count = min(DIVISIONS_AT_ONCE, num_divisions - start)
        block = np.zeros((count, num_rows), dtype=np.float32)
        for position in range(count):
            is_true_division = start + position == 0
            rows = np.arange(num_rows) if is_true_division else generator.permutation(num_rows)
            block[position, rows[:num_window]] = 1
        yield block


def _similarity_inside(divisions: Matrix, similarity: Matrix) -> Matrix:
    """Shape (divisions, 1): the similarity of the window's rows to each other, summed."""
    inside: Matrix = ((divisions @ similarity) * divisions).sum(axis=1, keepdims=True)
    return inside


def _mean_gaps(divisions: Matrix, numbers: Matrix, present: Matrix) -> Numbers:
    """Mean of the window's rows minus mean of the rest, for each division and column."""
    sum_inside = divisions @ numbers
    num_inside = divisions @ present
    sum_outside = numbers.sum(axis=0) - sum_inside
    num_outside = present.sum(axis=0) - num_inside
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = sum_inside / num_inside - sum_outside / num_outside
    return np.where((num_inside > 0) & (num_outside > 0), gaps, 0.0)


def _prepare(kernel: Kernel) -> Matrix:
    """Similarity without each row's own, centred if the baseline counts."""
    similarity = kernel.similarity.astype(np.float32, copy=True)
    np.fill_diagonal(similarity, 0)
    if kernel.is_centred:
        mean = similarity.mean(axis=0)
        similarity += similarity.mean() - mean - mean[:, None]
        np.fill_diagonal(similarity, 0)
    return similarity
