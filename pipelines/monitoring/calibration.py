"""Knows when a difference between a window and its baseline is more than chance, over all signals together.

Each signal's statistic is computed again for `num_resamples` random divisions of the pooled rows into a window of the same size and a
rest (Fisher 1935; Westfall and Young 1993, single-step maxT). If window and baseline are of one kind, the true division is one of these at
random, so the alarm over all signals together is false in at most `false_alarm_rate` of windows, whatever the signals' shapes, how rare
their events are, or how they hang together. Divisions of the baseline alone do not give that: an event that the baseline of 500 never
saw has no spread there, and its first occurrence would always be an alarm.

Signals with heavy tails must not raise the bar for the others: each is measured in units of its own 99 % point.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
DIVISIONS_AT_ONCE = 250  # bounds the memory: this many rows of the pooled size


@dataclass(frozen=True)
class Column:
    """A number a row; the statistic is the difference of the means. NaN: does not apply to that row."""

    name: str
    values: Numbers  # shape (rows,)
    side: int  # 1: only more is drift, -1: only less, 0: both


@dataclass(frozen=True)
class Kernel:
    """A likeness of every two rows; the statistic is how alike the window's rows are among themselves. Only more is drift.

    `centred`: measured against the likeness to the baseline's rows (maximum mean discrepancy, Gretton et al. 2012).
    """

    name: str
    likeness: Matrix  # shape (rows, rows)
    centred: bool


@dataclass(frozen=True)
class Finding:
    """One signal's outcome. `statistic` and `threshold` are in units of its own 99 % point under no drift; `p_value` is over all signals."""

    name: str
    statistic: float
    threshold: float
    p_value: float
    direction: int
    effect: float  # difference in pooled standard deviations (columns), excess in standard deviations under no drift (kernels)
    window: float | None  # the window's mean (columns)
    baseline: float | None


def judge(columns: list[Column], kernels: list[Kernel], num_window: int, num_resamples: int, false_alarm_rate: float, seed: int) -> tuple[list[Finding], list[str]]:
    """Findings of all signals that vary, and the names of those that do not. The first `num_window` pooled rows are the window."""
    varied = [column for column in columns if _varies(column)]
    constant = [column.name for column in columns if not _varies(column)]
    if not varied and not kernels:
        return [], constant
    drawn = _statistics(varied, kernels, num_window, num_resamples, seed)
    centre, spread = drawn.mean(axis=0), drawn.std(axis=0)
    spread = np.where(spread > 0, spread, np.inf)
    scaled = (drawn - centre) / spread
    sides = np.array([*(column.side for column in varied), *(1 for _ in kernels)])
    extreme = np.where(sides == 0, np.abs(scaled), scaled * np.where(sides == 0, 1, sides))
    point = np.quantile(extreme, 0.99, axis=0)
    units = extreme / np.where(point > 0, point, np.inf)
    highest = units.max(axis=1)
    threshold = float(np.sort(highest)[::-1][max(0, int(np.floor(false_alarm_rate * highest.size)) - 1)])
    names = [*(column.name for column in varied), *(kernel.name for kernel in kernels)]
    effects = [*(_effect(column, num_window) for column in varied), *((None, None, float(scaled[0, place])) for place in range(len(varied), len(names)))]
    findings = []
    for place, name in enumerate(names):
        window, baseline, effect = effects[place]
        p_value = float((highest >= units[0, place] - 1e-6).mean())
        direction = int(np.sign(effect))
        findings.append(Finding(name, float(units[0, place]), threshold, p_value, direction, effect, window, baseline))
    return findings, constant


def alarmed(finding: Finding, false_alarm_rate: float, min_effect: float) -> bool:
    """Whether a signal has drifted: beyond chance over all signals together, and by more than a trifle."""
    return finding.p_value <= false_alarm_rate and abs(finding.effect) >= min_effect


def _varies(column: Column) -> bool:
    """Enough values, and more than one. Asked of the pool alone, so that the answer is the same for every division."""
    known = column.values[np.isfinite(column.values)]
    return bool(known.size >= 10 and np.ptp(known) > 0)


def _effect(column: Column, num_window: int) -> tuple[float | None, float | None, float]:
    """(mean in the window, mean in the baseline, their difference in pooled standard deviations)."""
    window, baseline = _mean(column.values[:num_window]), _mean(column.values[num_window:])
    if window is None or baseline is None:
        return window, baseline, 0.0
    return window, baseline, (window - baseline) / float(np.nanstd(column.values))


def _mean(values: Numbers) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _statistics(columns: list[Column], kernels: list[Kernel], num_window: int, num_resamples: int, seed: int) -> Numbers:
    """Shape (1 + num_resamples, signals); row 0 is the true division."""
    rows = columns[0].values.size if columns else kernels[0].likeness.shape[0]
    dice = np.random.default_rng(seed)
    values = np.stack([column.values for column in columns], axis=1) if columns else np.zeros((rows, 0))
    present = np.isfinite(values).astype(np.float32)
    filled = np.where(np.isfinite(values), values, 0.0).astype(np.float32)
    prepared = [_prepared(kernel) for kernel in kernels]
    drawn = []
    for start in range(0, num_resamples + 1, DIVISIONS_AT_ONCE):
        count = min(DIVISIONS_AT_ONCE, num_resamples + 1 - start)
        chosen = np.zeros((count, rows), dtype=np.float32)
        for place in range(count):
            chosen[place, np.arange(num_window) if start + place == 0 else dice.permutation(rows)[:num_window]] = 1
        inside = [((chosen @ likeness) * chosen).sum(axis=1, keepdims=True) for likeness in prepared]
        drawn.append(np.concatenate([_mean_gaps(chosen, filled, present), *inside], axis=1))
    return np.concatenate(drawn).astype(np.float64)


def _mean_gaps(chosen: Matrix, filled: Matrix, present: Matrix) -> Numbers:
    """Mean of the chosen rows minus mean of the rest, for each division and column."""
    total, counted = filled.sum(axis=0), present.sum(axis=0)
    inside, num_inside = chosen @ filled, chosen @ present
    outside, num_outside = total - inside, counted - num_inside
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = inside / num_inside - outside / num_outside
    return np.where((num_inside > 0) & (num_outside > 0), gaps, 0.0)


def _prepared(kernel: Kernel) -> Matrix:
    """Likeness without each row's own, centred where the baseline counts."""
    made = kernel.likeness.astype(np.float32, copy=True)
    np.fill_diagonal(made, 0)
    if kernel.centred:
        mean = made.mean(axis=0)
        made += made.mean() - mean - mean[:, None]
        np.fill_diagonal(made, 0)
    return made
