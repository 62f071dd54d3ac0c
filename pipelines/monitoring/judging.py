"""A window's outcome: its signals against the baseline's, in numbers, examples and a sentence."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.drift import Group, Signal
from pipelines.monitoring import calibration, signals
from pipelines.monitoring.calibration import Calibration, Finding, Kernel, Numbers, Signals
from pipelines.monitoring.signals import KINDS, KnownQuestions
from pipelines.vectorstore import Vectors

EXAMPLE_CHARACTERS = 160
NUM_EXAMPLES = 3
Direction = Literal["more", "less", "other"]


@dataclass(frozen=True)
class Rows:
    """contracts.window rows with the unit vectors of their questions, shape (rows, dimensions)."""

    table: pd.DataFrame
    vectors: Vectors


@dataclass(frozen=True)
class Outcome:
    """All signals, worst first, and the names of those that could not be measured."""

    signals: list[Signal]
    missing_signals: list[str]
    is_drastic: bool

    @property
    def drifting_signals(self) -> list[Signal]:
        """Those that have drifted, worst first."""
        return [signal for signal in self.signals if signal.drifted]


def sample(table: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """At most `limit` of the rows, sampled at random, in their order."""
    if len(table) <= limit:
        return table
    positions = sample_positions(len(table), limit, seed)
    return table.iloc[positions].reset_index(drop=True)


def sample_positions(count: int, limit: int, seed: int) -> npt.NDArray[np.intp]:
    """The positions of those rows among `count`."""
    if count <= limit:
        return np.arange(count)
    generator = np.random.default_rng(seed)
    return np.sort(generator.choice(count, limit, replace=False))


def judge(
    config: MonitorConfig,
    window: Rows,
    baseline: Rows,
    known_questions: KnownQuestions,
    groups: Collection[Group],
) -> Outcome:
    """The window's rows against the baseline's, in the signals of these groups.

    Both must be sampled to a size that fits memory.
    """
    pool = _pool_signals(window, baseline, known_questions, groups)
    settings = Calibration(config.num_resamples, config.false_alarm_rate, config.seed)
    findings, constant = calibration.judge(pool, settings)
    weights = _weights(pool)
    questions = window.table["question"].tolist()
    outcomes: list[Signal] = []
    for finding in findings:
        examples = _examples(finding, weights[finding.name], questions)
        outcomes.append(_signal(config, finding, examples))
    outcomes.sort(key=_worst_first)
    is_drastic = any(_is_drastic(signal, config.drastic_factor) for signal in outcomes)
    return Outcome(outcomes, _missing_signals(findings, constant, groups), is_drastic)


def sentence(outcome: Outcome, num_requests: int, baseline: str) -> str:
    """What the signals say together."""
    drifting_signals = outcome.drifting_signals
    if not drifting_signals:
        nearest = ""
        if outcome.signals:
            nearest = f", nearest to its threshold {outcome.signals[0].name}"
        return f"No drift in {num_requests} requests against {baseline}{nearest}."
    names = ", ".join(map(_name_with_direction, drifting_signals))
    questions = drifting_signals[0].examples[:2]
    examples = "; ".join(f"“{question}”" for question in questions)
    drastically = ", drastically" if outcome.is_drastic else ""
    start = f"Drift in {num_requests} requests against {baseline}"
    return f"{start}: {names}{drastically}. E.g. {examples}."


def _name_with_direction(signal: Signal) -> str:
    if signal.direction == "other":
        return signal.name
    return f"{signal.name} ({signal.direction})"


def _pool_signals(
    window: Rows, baseline: Rows, known_questions: KnownQuestions, groups: Collection[Group]
) -> Signals:
    """The signals of these groups over the rows of both, the window's first."""
    rows = pd.concat([window.table, baseline.table], ignore_index=True)
    vectors = np.concatenate([window.vectors, baseline.vectors])
    pool = Signals([], [], len(window.table))
    for column in signals.columns(rows, vectors, known_questions):
        if KINDS[column.name].group in groups:
            pool.columns.append(column)
    for kernel in signals.kernels(rows, vectors, known_questions):
        if KINDS[kernel.name].group in groups:
            pool.kernels.append(kernel)
    return pool


def _missing_signals(
    findings: list[Finding], constant: list[str], groups: Collection[Group]
) -> list[str]:
    """Signals of these groups without a finding: no values, or all of them alike."""
    missing = {name for name, kind in KINDS.items() if kind.group in groups}
    missing -= {finding.name for finding in findings}
    return sorted(missing | set(constant))


def _worst_first(signal: Signal) -> tuple[bool, float]:
    height = signal.statistic / max(signal.threshold, 1e-9)
    return not signal.drifted, -height


def _is_drastic(signal: Signal, factor: float) -> bool:
    return signal.drifted and signal.statistic >= factor * signal.threshold


def _signal(config: MonitorConfig, finding: Finding, examples: list[str]) -> Signal:
    kind = KINDS[finding.name]
    window = _readable_mean(finding.name, finding.effect.window)
    baseline = _readable_mean(finding.name, finding.effect.baseline)
    has_drifted = calibration.is_alarming(finding, config.false_alarm_rate, config.min_effect)
    means = ""
    if window is not None and baseline is not None:
        means = f" ({baseline:.3g} before, {window:.3g} now)"
        if finding.name == "latency":
            has_drifted = has_drifted and window >= config.min_slowdown * baseline
    change = _describe_change(finding, has_drifted, config.false_alarm_rate)
    probability = f"p {finding.p_value:.4f} over all signals"
    return Signal(
        name=finding.name,
        group=kind.group,
        drifted=has_drifted,
        direction=_direction(finding),
        window=window,
        baseline=baseline,
        examples=examples,
        sentence=f"{kind.meaning.capitalize()}: {change}{means}, {probability}.",
        statistic=round(finding.statistic, 4),
        threshold=round(finding.threshold, 4),
        p_value=round(finding.p_value, 6),
        effect=round(finding.effect.size, 4),
    )


def _readable_mean(name: str, mean: float | None) -> float | None:
    """The mean in the signal's own unit: some signals are logarithms."""
    if mean is None:
        return None
    to_unit = signals.LOGARITHMS.get(name, float)
    return float(to_unit(mean))


def _describe_change(finding: Finding, has_drifted: bool, false_alarm_rate: float) -> str:
    if has_drifted:
        return "has changed"
    if finding.p_value > false_alarm_rate:
        return "has not changed beyond chance"
    return "has changed by a trifle"


def _is_kernel(finding: Finding) -> bool:
    return finding.effect.window is None and finding.effect.baseline is None


def _direction(finding: Finding) -> Direction:
    if _is_kernel(finding) or not finding.direction:
        return "other"
    return "more" if finding.direction > 0 else "less"


def _examples(finding: Finding, weights: Numbers, questions: list[str]) -> list[str]:
    """The questions that moved the signal most, each once."""
    sign = 1 if _is_kernel(finding) or finding.direction >= 0 else -1
    order = np.argsort(-weights * sign, kind="stable")
    texts = [printable(questions[row]) for row in order if np.isfinite(weights[row])]
    return list(dict.fromkeys(texts))[:NUM_EXAMPLES]


def printable(question: str) -> str:
    """One line without control characters: examples end up in terminals and logs."""
    characters = question[:EXAMPLE_CHARACTERS]
    return "".join(sign if sign.isprintable() else " " for sign in characters)


def _weights(pool: Signals) -> dict[str, Numbers]:
    """How much each of the window's rows adds to each signal."""
    weights: dict[str, Numbers] = {}
    for column in pool.columns:
        weights[column.name] = column.values[: pool.num_window]
    for kernel in pool.kernels:
        weights[kernel.name] = _kernel_weights(kernel, pool.num_window)
    return weights


def _kernel_weights(kernel: Kernel, size: int) -> Numbers:
    """Each row's similarity to the window, beyond that to the baseline if that counts."""
    similarity = kernel.similarity[:size, :size]
    inside = similarity.sum(axis=1) - np.diagonal(similarity)
    outside = np.zeros(size)
    if kernel.is_centred and kernel.similarity.shape[0] > size:
        outside = kernel.similarity[:size, size:].mean(axis=1)
    mean_inside = inside / max(1, size - 1)
    return np.asarray(mean_inside - outside, dtype=np.float64)
