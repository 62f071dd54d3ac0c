"""The rules that a candidate must keep.

Every rule fails closed: what is missing, null or out of range is a refusal.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.config.gate import GateConfig
from pipelines.contracts.report import Check, Report
from pipelines.contracts.scores import BASE, CANDIDATE, CHAMPION, FREQUENT, Interval, Scores
from pipelines.contracts.verdict import Override, Verdict
from pipelines.decision import gaps, licence_rules, power
from pipelines.system.locked_packages import Package
from pipelines.training.weights import CHECK_NAMES

MISSING = Interval(value=None, low=None, high=None, num=0)
ERROR_RATE = 0.05  # share of equally good models that the comparison of all slices refuses


@dataclass(frozen=True)
class Evidence:
    """What the rules look at beside the scores."""

    validation: Report
    examples_validation: Report
    adapter_digest: str
    adapter_checks: list[Check]
    proof: Report  # of the adapter, by finetune
    licences: dict[str, str | None]  # of each model that was not made here; None: not stated
    packages: list[Package]  # of the environments whose code a release runs


def judge(
    config: GateConfig,
    scores: Scores,
    evidence: list[Check],
    champion: str | None,
    overrides: list[Override],
) -> Verdict:
    """Apply all rules. `champion`: the release id that models/champion.json names."""
    rules = [
        *evidence,
        _enough_questions(config, scores),
        _in_range(scores),
        *_floors(config, scores),
        _better_than_base(config, scores),
        _better_than_most_frequent(scores),
        *_not_worse_than_champion(config, scores, champion),
        _no_slice_collapses(config, scores),
    ]
    if champion is not None:
        rules.append(_no_slice_falls_behind(config, scores))
    violations = [rule for rule in rules if not rule.passed]
    excuses = _effective(overrides, violations)
    refusals = [rule for rule in violations if not _is_excused(rule, excuses)]
    return Verdict(
        accepted=not refusals,
        candidate=scores.candidate,
        reason=_explain(len(rules), refusals, excuses, scores),
        rules=rules,
        overrides=excuses,
        not_judged=gaps.find(scores),
        power=power.describe(config, scores),
    )


def names(config: GateConfig) -> list[str]:
    """The names of all rules, those for a champion included: what an override can name."""
    scores = Scores(
        candidate="", champion=None, num_questions=0, golden_digest="", systems={}, differences={}
    )
    report = Report.of([])
    evidence = Evidence(report, report, "", [], report, {}, [])
    verdict = judge(config, scores, check_evidence(config, evidence, scores), "any", [])
    return [*CHECK_NAMES, *(rule.name for rule in verdict.rules)]


def check_evidence(config: GateConfig, evidence: Evidence, scores: Scores) -> list[Check]:
    """The rules that look at something else than the numbers of the scores."""
    is_same = scores.candidate == evidence.adapter_digest
    return [
        _check_report("data validation passed", evidence.validation),
        _check_report("no golden question in training", evidence.examples_validation),
        *evidence.adapter_checks,
        _check_report("adapter proof passed", evidence.proof),
        Check(
            name="scores belong to this adapter",
            passed=is_same,
            observed=scores.candidate[:12] or "none",
            expected=evidence.adapter_digest[:12],
        ),
        licence_rules.check_models(config, evidence.licences),
        licence_rules.check_packages(config, evidence.packages),
    ]


def _check_report(name: str, report: Report) -> Check:
    """A report counts only if its checks agree with its own word."""
    has_passed = report.passed and bool(report.checks) and not report.failures()
    return Check(name=name, passed=has_passed, observed=report.reason, expected="passed")


def _enough_questions(config: GateConfig, scores: Scores) -> Check:
    """The base model is asked a sample: the interval of its difference says if that is enough."""
    counts = [scores.num_questions, _metric(scores, CANDIDATE, "exact_match").num]
    has_base = _metric(scores, BASE, "exact_match").num > 0
    return Check(
        name="enough golden questions",
        passed=min(counts) >= config.min_questions and has_base,
        observed=str(min(counts)) if has_base else "0 of the base model",
        expected=f">= {config.min_questions}",
    )


def _in_range(scores: Scores) -> Check:
    """Every measured share is from 0 to 1, every difference from -1, each inside its interval."""
    violations: list[str] = []
    for name, interval, minimum in _intervals(scores):
        if not _is_sound(interval, minimum):
            bounds = f"[{interval.low}, {interval.high}]"
            violations.append(f"{name}: {interval.value} {bounds}")
    return Check(
        name="metrics are in range",
        passed=bool(scores.systems) and not violations,
        observed=f"{len(violations)} are not",
        expected="0",
        examples=violations[:3],
    )


def _intervals(scores: Scores) -> Iterator[tuple[str, Interval, float]]:
    """Name, interval and smallest possible value of everything that has been measured."""
    for system, result in scores.systems.items():
        for name, interval in (*result.metrics.items(), *result.slices.items()):
            if interval.num:
                yield f"{system}.{name}", interval, 0.0
    for system, differences in scores.differences.items():
        for name, interval in differences.items():
            if interval.num:
                yield f"difference to {system}.{name}", interval, -1.0


def _is_sound(interval: Interval, minimum: float = 0.0) -> bool:
    low, value, high = interval.low, interval.value, interval.high
    if low is None or value is None or high is None:
        return False
    if not all(math.isfinite(number) for number in (low, value, high)):
        return False
    return minimum <= low <= value <= high <= 1


def _floors(config: GateConfig, scores: Scores) -> list[Check]:
    rules: list[Check] = []
    for name, floor in config.floors.items():
        interval = _metric(scores, CANDIDATE, name)
        rules.append(
            Check(
                name=f"floor {name}",
                passed=_is_sound(interval) and _is_at_least(interval.low, floor),
                observed=_format(interval),
                expected=f"lower end >= {floor}",
            )
        )
    return rules


def _better_than_base(config: GateConfig, scores: Scores) -> Check:
    gain = _difference(scores, BASE, "exact_match")
    is_better = gain.low is not None and gain.low > 0
    return Check(
        name="better than the base model",
        passed=is_better and _is_at_least(gain.low, config.min_gain_over_base),
        observed=f"exact match {_format(gain)}",
        expected=f"lower end > 0 and >= {config.min_gain_over_base}",
    )


def _better_than_most_frequent(scores: Scores) -> Check:
    candidate = _metric(scores, CANDIDATE, "exact_match")
    frequent = _metric(scores, FREQUENT, "exact_match")
    is_better = False
    if candidate.low is not None and frequent.high is not None:
        is_better = candidate.low > frequent.high
    return Check(
        name="better than the most frequent answer",
        passed=is_better,
        observed=f"{_format(candidate)} against {_format(frequent)}",
        expected="intervals do not overlap",
    )


def _not_worse_than_champion(
    config: GateConfig, scores: Scores, champion: str | None
) -> list[Check]:
    """Once there is a champion, the scores must hold its answers to the same questions."""
    if champion is None:
        is_consistent = scores.champion is None
        actual = scores.champion or "none"
        requirement = "none is released"
    else:
        is_consistent = scores.champion == champion and CHAMPION in scores.systems
        actual = scores.champion or "no scores of a champion"
        requirement = f"scores of {champion}"
    rules = [Check(name="champion", passed=is_consistent, observed=actual, expected=requirement)]
    if champion is not None:
        rules += [_margin(config, scores, name) for name in config.champion_metrics]
    return rules


def _margin(config: GateConfig, scores: Scores, metric: str) -> Check:
    difference = _difference(scores, CHAMPION, metric)
    return Check(
        name=f"not worse than the champion in {metric}",
        passed=_is_at_least(difference.low, -config.champion_margin),
        observed=_format(difference),
        expected=f"lower end >= {-config.champion_margin}",
    )


def _no_slice_collapses(config: GateConfig, scores: Scores) -> Check:
    slices = _large_slices(config, scores)
    low: list[str] = []
    for name, interval in slices.items():
        if not _is_at_least(interval.value, config.min_slice_score):
            low.append(f"{name} {_format(interval)}")
    return Check(
        name="no slice collapses",
        passed=bool(slices) and not low,
        observed=f"{len(low)} of {len(slices)} slices",
        expected=f"none below {config.min_slice_score}",
        examples=low[:3],
    )


def _no_slice_falls_behind(config: GateConfig, scores: Scores) -> Check:
    champion = scores.systems.get(CHAMPION)
    before = champion.slices if champion else {}
    slices = _large_slices(config, scores)
    drops: list[str] = []
    for name, interval in slices.items():
        previous = before.get(name, MISSING)
        if _drops(interval, previous, config.max_slice_drop, len(slices)):
            drops.append(f"{name} {_format(interval)}, was {_format(previous)}")
    return Check(
        name="no slice falls behind the champion",
        passed=champion is not None and not drops,
        observed=f"{len(drops)} of {len(slices)} slices",
        expected=f"none by more than {config.max_slice_drop} and by more than chance explains",
        examples=drops[:3],
    )


def _large_slices(config: GateConfig, scores: Scores) -> dict[str, Interval]:
    """The candidate's slices that have enough questions to be judged."""
    candidate = scores.systems.get(CANDIDATE)
    if candidate is None:
        return {}
    minimum = config.min_slice_questions
    return {name: value for name, value in candidate.slices.items() if value.num >= minimum}


def _drops(interval: Interval, previous: Interval, max_drop: float, num_slices: int) -> bool:
    """Whether a slice drops by more than `max_drop`, and by more than chance explains.

    Of 35 slices of ten questions, one drops by 0.4 by chance. So Fisher's exact test must find the
    drop, with the error rate divided among the slices (Bonferroni). A slice that the champion was
    not asked about cannot drop.
    """
    if previous.value is None:
        return False
    if interval.value is None or not _are_shares(interval.value, previous.value):
        return True  # the rule `metrics are in range` says so
    drop = previous.value - interval.value
    return drop > max_drop and _chance(interval, previous) * num_slices < ERROR_RATE


def _are_shares(*values: float) -> bool:
    return all(0 <= value <= 1 for value in values)


def _chance(interval: Interval, previous: Interval) -> float:
    """The probability of so many fewer exact matches if both models are equally good."""
    from scipy.stats import fisher_exact

    table = [_counts(interval), _counts(previous)]
    return float(fisher_exact(table, alternative="less").pvalue)


def _counts(interval: Interval) -> tuple[int, int]:
    """Exact matches, and the other answers."""
    assert interval.value is not None
    num_matches = round(interval.value * interval.num)
    return num_matches, interval.num - num_matches


def _is_at_least(value: float | None, minimum: float) -> bool:
    return value is not None and value >= minimum


def _metric(scores: Scores, system: str, name: str) -> Interval:
    result = scores.systems.get(system)
    return result.metrics.get(name, MISSING) if result else MISSING


def _difference(scores: Scores, system: str, name: str) -> Interval:
    return scores.differences.get(system, {}).get(name, MISSING)


def _format(interval: Interval) -> str:
    if interval.value is None:
        return "missing"
    return f"{interval.value:.3f} [{interval.low}, {interval.high}]"


def _effective(overrides: list[Override], violations: list[Check]) -> list[Override]:
    """The overrides without which the candidate would be refused."""
    names = {rule.name for rule in violations}
    return [override for override in overrides if names & set(override.rules)]


def _is_excused(rule: Check, overrides: list[Override]) -> bool:
    return any(rule.name in override.rules for override in overrides)


def _explain(
    num_rules: int, refusals: list[Check], overrides: list[Override], scores: Scores
) -> str:
    """The verdict in one sentence."""
    match = f"exact match {_format(_metric(scores, CANDIDATE, 'exact_match'))}"
    if refusals:
        reasons = "; ".join(rule.describe() for rule in refusals)
        return f"refused: {len(refusals)} of {num_rules} rules failed: {reasons}"
    if overrides:
        excuses = "; ".join(_describe_override(override) for override in overrides)
        return f"accepted by override: {excuses}; {match}"
    return f"accepted: all {num_rules} rules passed; {match}"


def _describe_override(override: Override) -> str:
    names = ", ".join(override.rules)
    return f"{names} by {override.who} until {override.until} ({override.why})"
