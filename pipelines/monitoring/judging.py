"""Knows a window's verdict: its signals against the baseline's, what they say together, in numbers, examples and a sentence."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.drift import Group, Signal
from pipelines.encoding import Vectors
from pipelines.monitoring import calibration, signals
from pipelines.monitoring.calibration import Column, Finding, Kernel, Numbers
from pipelines.monitoring.signals import Known

EXAMPLE_CHARACTERS = 160


@dataclass(frozen=True)
class Rows:
    """contracts.window rows with the unit vectors of their questions, shape (rows, dimensions)."""

    table: pd.DataFrame
    vectors: Vectors


@dataclass(frozen=True)
class Judged:
    """All signals, worst first."""

    signals: list[Signal]
    unmeasured: list[str]
    drastic: bool


def drawn(table: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """At most `limit` of the rows, drawn at random, in their order."""
    return table if len(table) <= limit else table.iloc[drawn_places(len(table), limit, seed)].reset_index(drop=True)


def drawn_places(count: int, limit: int, seed: int) -> npt.NDArray[np.intp]:
    """The places of those rows among `count`."""
    return np.arange(count) if count <= limit else np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def judge(config: MonitorConfig, window: Rows, baseline: Rows, known: Known, groups: Collection[Group]) -> Judged:
    """The window's rows against the baseline's, in the signals of these groups. Both must be drawn to a size that fits memory."""
    pooled = pd.concat([window.table, baseline.table], ignore_index=True)
    vectors = np.concatenate([window.vectors, baseline.vectors])
    columns = [column for column in signals.columns(pooled, vectors, known) if signals.GROUPS[column.name] in groups]
    kernels = [kernel for kernel in signals.kernels(pooled, vectors, known) if signals.GROUPS[kernel.name] in groups]
    size = len(window.table)
    findings, constant = calibration.judge(columns, kernels, size, config.num_resamples, config.false_alarm_rate, config.seed)
    weights = {column.name: _column_weights(column, size) for column in columns} | {kernel.name: _kernel_weights(kernel, size) for kernel in kernels}
    made = [_signal(config, finding, weights[finding.name], window.table["question"].tolist()) for finding in findings]
    made.sort(key=lambda signal: (not signal.drifted, -signal.statistic / max(signal.threshold, 1e-9)))
    drastic = any(signal.drifted and signal.statistic >= config.drastic_factor * signal.threshold for signal in made)
    absent = [name for name, group in signals.GROUPS.items() if group in groups and name not in {finding.name for finding in findings} | set(constant)]
    return Judged(made, sorted([*constant, *absent]), drastic)


def sentence(judged: Judged, num_requests: int, baseline: str) -> str:
    """What the signals say together."""
    drifted = [signal for signal in judged.signals if signal.drifted]
    if not drifted:
        nearest = f", nearest to its threshold {judged.signals[0].name}" if judged.signals else ""
        return f"No drift in {num_requests} requests against {baseline}{nearest}."
    examples = "; ".join(f"“{question}”" for question in drifted[0].examples[:2])
    names = ", ".join(f"{signal.name} ({signal.direction})" if signal.direction != "other" else signal.name for signal in drifted)
    return f"Drift in {num_requests} requests against {baseline}: {names}{', drastically' if judged.drastic else ''}. E.g. {examples}."


def _signal(config: MonitorConfig, finding: Finding, weights: Numbers, questions: list[str]) -> Signal:
    group = signals.GROUPS[finding.name]
    window, baseline = (None if value is None else float(signals.LOGARITHMS.get(finding.name, float)(value)) for value in (finding.window, finding.baseline))
    drifted = calibration.alarmed(finding, config.false_alarm_rate, config.min_effect)
    if finding.name == "latency" and window is not None and baseline is not None:
        drifted = drifted and window >= config.min_slowdown * baseline
    is_kernel = finding.window is None and finding.baseline is None
    direction: Literal["more", "less", "other"] = "other" if is_kernel or not finding.direction else "more" if finding.direction > 0 else "less"
    order = np.argsort(-weights * (1 if is_kernel or finding.direction >= 0 else -1), kind="stable")
    examples = list(dict.fromkeys(_shown(questions[place]) for place in order if np.isfinite(weights[place])))[:3]
    seen = "" if window is None or baseline is None else f" ({baseline:.3g} before, {window:.3g} now)"
    outcome = "has changed" if drifted else "has not changed beyond chance" if finding.p_value > config.false_alarm_rate else "has changed by a trifle"
    text = f"{signals.MEANING[finding.name].capitalize()}: {outcome}{seen}, p {finding.p_value:.4f} over all signals."
    numbers = {"statistic": round(finding.statistic, 4), "threshold": round(finding.threshold, 4), "p_value": round(finding.p_value, 6), "effect": round(finding.effect, 4)}
    return Signal(name=finding.name, group=group, drifted=drifted, direction=direction, window=window, baseline=baseline, examples=examples, sentence=text, **numbers)


def _shown(question: str) -> str:
    """On one line and without control characters: examples end up in terminals and logs."""
    return "".join(sign if sign.isprintable() else " " for sign in question[:EXAMPLE_CHARACTERS])


def _column_weights(column: Column, size: int) -> Numbers:
    return column.values[:size]


def _kernel_weights(kernel: Kernel, size: int) -> Numbers:
    """How much each of the window's rows adds to the likeness within the window, beyond that to the baseline where it counts."""
    inside = kernel.likeness[:size, :size].sum(axis=1) - np.diagonal(kernel.likeness)[:size]
    outside = kernel.likeness[:size, size:].mean(axis=1) if kernel.centred and kernel.likeness.shape[0] > size else 0.0
    return np.asarray(inside / max(1, size - 1) - outside, dtype=np.float64)
