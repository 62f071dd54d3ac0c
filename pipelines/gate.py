"""Knows the rules that a candidate must keep. Every rule fails closed: what is missing, null or out of range is a refusal."""

import datetime
import math
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from pipelines.config.gate import GateConfig
from pipelines.contracts.report import Check, Report
from pipelines.contracts.scores import BASE, CANDIDATE, CHAMPION, FREQUENT, Interval, Scores
from pipelines.contracts.verdict import Override, Verdict
from pipelines.errors import UserError

MISSING = Interval(value=None, low=None, high=None, num=0)


def judge(config: GateConfig, scores: Scores, evidence: list[Check], released: str | None, overrides: list[Override]) -> Verdict:
    """All rules over scores and evidence (reports and adapter checks, see `evidence`). `released` is the champion in the ledger."""
    rules = [*evidence, *_enough(config, scores), *_in_range(scores), *_floors(config, scores), *_learned(config, scores), *_champion(config, scores, released), *_slices(config, scores, released)]
    used = [override for override in overrides if any(not rule.passed and rule.name in override.rules for rule in rules)]
    excused = {name for override in used for name in override.rules}
    failed = [rule for rule in rules if not rule.passed and rule.name not in excused]
    return Verdict(accepted=not failed, candidate=scores.candidate, reason=_sentence(rules, failed, used, scores), rules=rules, overrides=used)


def evidence(validation: Report, examples_validation: Report, adapter: list[Check], proof: Report, adapter_digest: str, scores: Scores) -> list[Check]:
    """The rules that look at other things than scores."""
    return [
        _passed("data validation passed", validation),
        _passed("no golden question in training", examples_validation),
        *adapter,
        _passed("adapter proof passed", proof),
        Check(name="scores belong to this adapter", passed=scores.candidate == adapter_digest, observed=scores.candidate[:12] or "none", expected=adapter_digest[:12]),
    ]


def _passed(name: str, report: Report) -> Check:
    return Check(name=name, passed=report.passed and bool(report.checks) and all(check.passed for check in report.checks), observed=report.reason, expected="passed")


def _enough(config: GateConfig, scores: Scores) -> list[Check]:
    counted = min([scores.num_questions, *(_metric(scores, system, "exact_match").num for system in (CANDIDATE, BASE))])
    return [Check(name="enough golden questions", passed=counted >= config.min_questions, observed=str(counted), expected=f">= {config.min_questions}")]


def _in_range(scores: Scores) -> list[Check]:
    """Every metric, slice and difference that was measured is a number from 0 to 1 (a difference from -1), inside its own interval."""
    shares = [(f"{system}.{name}", met, 0.0) for system, found in scores.systems.items() for name, met in (*found.metrics.items(), *found.slices.items())]
    gaps = [(f"difference to {system}.{name}", met, -1.0) for system, found in scores.differences.items() for name, met in found.items()]
    wrong = [f"{name}: {met.value} [{met.low}, {met.high}]" for name, met, least in (*shares, *gaps) if met.num and not _sound(met, least)]
    return [Check(name="metrics are in range", passed=bool(scores.systems) and not wrong, observed=f"{len(wrong)} are not", expected="0", examples=wrong[:3])]


def _sound(met: Interval, least: float = 0.0) -> bool:
    if met.value is None or met.low is None or met.high is None:
        return False
    return all(math.isfinite(number) for number in (met.value, met.low, met.high)) and least <= met.low <= met.value <= met.high <= 1


def _floors(config: GateConfig, scores: Scores) -> list[Check]:
    rules = []
    for name, floor in config.floors.items():
        met = _metric(scores, CANDIDATE, name)
        rules.append(Check(name=f"floor {name}", passed=_sound(met) and (met.low or 0.0) >= floor, observed=_shown(met), expected=f"lower end >= {floor}"))
    return rules


def _learned(config: GateConfig, scores: Scores) -> list[Check]:
    gain = scores.differences.get(BASE, {}).get("exact_match", MISSING)
    candidate, frequent = _metric(scores, CANDIDATE, "exact_match"), _metric(scores, FREQUENT, "exact_match")
    better = candidate.low is not None and frequent.high is not None and candidate.low > frequent.high
    return [
        Check(
            name="better than the base model",
            passed=gain.low is not None and gain.low > 0 and gain.low >= config.min_gain_over_base,
            observed=f"exact match {_shown(gain)}",
            expected=f"lower end > 0 and >= {config.min_gain_over_base}",
        ),
        Check(name="better than the most frequent answer", passed=better, observed=f"{_shown(candidate)} against {_shown(frequent)}", expected="intervals do not overlap"),
    ]


def _champion(config: GateConfig, scores: Scores, released: str | None) -> list[Check]:
    """Not worse than the champion, once there is one: the scores must then hold its answers to the same questions."""
    if released is None:
        return [Check(name="champion", passed=scores.champion is None, observed=scores.champion or "none", expected="none is released")]
    rules = [Check(name="champion", passed=scores.champion == released and CHAMPION in scores.systems, observed=scores.champion or "no scores of a champion", expected=f"scores of {released}")]
    for name in config.champion_metrics:
        gap = scores.differences.get(CHAMPION, {}).get(name, MISSING)
        rules.append(
            Check(
                name=f"not worse than the champion in {name}",
                passed=gap.low is not None and gap.low >= -config.champion_margin,
                observed=_shown(gap),
                expected=f"lower end >= {-config.champion_margin}",
            )
        )
    return rules


def _slices(config: GateConfig, scores: Scores, released: str | None) -> list[Check]:
    system, champion = scores.systems.get(CANDIDATE), scores.systems.get(CHAMPION)
    judged = {name: met for name, met in (system.slices if system else {}).items() if met.num >= config.min_slice_questions}
    low = [f"{name} {_shown(met)}" for name, met in judged.items() if met.value is None or met.value < config.min_slice_score]
    rules = [Check(name="no slice collapses", passed=bool(judged) and not low, observed=f"{len(low)} of {len(judged)} slices", expected=f"none below {config.min_slice_score}", examples=low[:3])]
    if released is not None:
        before = champion.slices if champion else {}
        fell = [f"{name} {_shown(met)}, was {_shown(before.get(name, MISSING))}" for name, met in judged.items() if _fell(met, before.get(name), config.max_slice_drop)]
        rules.append(
            Check(
                name="no slice falls behind the champion",
                passed=champion is not None and not fell,
                observed=f"{len(fell)} of {len(judged)} slices",
                expected=f"none by more than {config.max_slice_drop} and beyond its interval",
                examples=fell[:3],
            )
        )
    return rules


def _fell(met: Interval, before: Interval | None, most: float) -> bool:
    """Whether a slice dropped by more than `most`, with the champion's score above its interval: of 35 slices of ten questions, one drops by three by chance.

    A slice that the champion was not asked about cannot fall.
    """
    if before is None or before.value is None:
        return False
    return met.value is None or met.high is None or (before.value - met.value > most and before.value > met.high)


def _metric(scores: Scores, system: str, name: str) -> Interval:
    found = scores.systems.get(system)
    return found.metrics.get(name, MISSING) if found else MISSING


def _shown(met: Interval) -> str:
    return "missing" if met.value is None else f"{met.value:.3f} [{met.low}, {met.high}]"


def _sentence(rules: list[Check], failed: list[Check], used: list[Override], scores: Scores) -> str:
    match = f"exact match {_shown(_metric(scores, CANDIDATE, 'exact_match'))}"
    if failed:
        return f"refused: {len(failed)} of {len(rules)} rules failed: " + "; ".join(f"{rule.name}: {rule.observed}, expected {rule.expected}" for rule in failed)
    if used:
        return "accepted by override: " + "; ".join(f"{', '.join(override.rules)} by {override.who} until {override.until} ({override.why})" for override in used) + f"; {match}"
    return f"accepted: all {len(rules)} rules passed; {match}"


def read_overrides(path: Path, candidate: str, today: datetime.date) -> list[Override]:
    """The overrides that name this candidate and have not expired. Raises UserError that names file, entry and key."""
    if not path.exists():
        raise UserError(f"{path} is missing: `git checkout {path}` brings it back")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        for entry in entries:
            entry["until"] = str(entry.get("until"))
        found = TypeAdapter(list[Override]).validate_python(entries)
        dates = [datetime.date.fromisoformat(override.until) for override in found]
    except (yaml.YAMLError, ValidationError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: is no list of overrides: {error}\nEach entry has candidate, rules, who, why and until (a date such as 2030-01-31)") from error
    for override in found:
        if len(override.candidate) < 12:
            raise UserError(f"{path}: candidate: {override.candidate!r} is too short: give at least 12 hex digits of the candidate's digest (data/reports/verdict.json)")
        if not override.who.strip() or not override.why.strip():
            raise UserError(f"{path}: who, why: an override names its author and its reason")
    return [override for override, until in zip(found, dates, strict=True) if candidate.startswith(override.candidate) and until >= today]
