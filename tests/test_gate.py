"""Candidates that the gate must refuse, each with its reason, beside one that it accepts."""

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipelines import files
from pipelines.config.gate import GateConfig
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.contracts.report import Check, Report
from pipelines.contracts.scores import BASE, CANDIDATE, CHAMPION, FREQUENT, Interval, Scores, System
from pipelines.contracts.verdict import Override, Verdict
from pipelines.errors import UserError
from pipelines.gate import judge, read_overrides
from pipelines.stages.gate import run

CONFIG = GateConfig(
    floors={"exact_match": 0.6, "hit_at_5": 0.7}, min_gain_over_base=0.1, champion_metrics=["exact_match", "hit_at_5"], champion_margin=0.05,
    max_slice_drop=0.3, min_slice_score=0.3, min_questions=100, min_slice_questions=10,
)  # fmt: skip
PASSED = Report.of([Check(name="rows", passed=True, observed="0 rows", expected="0 rows")])
FAILED = Report.of([Check(name="rows", passed=False, observed="3 rows", expected="0 rows")])
EMPTY = Report(passed=True, reason="nothing to see", checks=[])
RELEASE = Champion(
    model="m",
    prompt="p",
    release_id="r-1",
    who="ada",
    why="first",
    when="2026-11-21T14:02:11+00:00",
    num_documents=3,
    candidate="c",
    model_digest="m",
    folder="models/champion",
    scores={"exact_match": 0.8},
)


def mean(value: float, num: int = 120) -> Interval:
    """An interval of the width that a bootstrap over some hundred questions has."""
    return Interval(value=value, low=round(max(-1.0, value - 0.04), 6), high=round(min(1.0, value + 0.04), 6), num=num)


def system(exact_match: float) -> System:
    return System(metrics={"exact_match": mean(max(0.04, exact_match)), "hit_at_5": mean(0.9)}, slices={"style:typo": mean(max(0.04, exact_match), 40), "topic:rare": mean(0.04, 3)})


def scored(candidate: str, match: float = 0.8, base: float = 0.1, champion: float | None = None) -> Scores:
    """Scores of a candidate with these exact matches; all else is good."""
    systems = {CANDIDATE: system(match), BASE: system(base), FREQUENT: system(0.1)} | ({} if champion is None else {CHAMPION: system(champion)})
    gaps = {name: {metric: mean(systems[CANDIDATE].metrics[metric].value - met.value) for metric, met in found.metrics.items()} for name, found in systems.items() if name != CANDIDATE}  # type: ignore[operator]
    return Scores(candidate=candidate, champion=None if champion is None else "r-1", num_questions=120, golden_digest="g", systems=systems, differences=gaps)


def with_metric(scores: Scores, name: str, metric: str, met: Interval) -> Scores:
    found = scores.systems[name]
    return scores.model_copy(update={"systems": scores.systems | {name: found.model_copy(update={"metrics": found.metrics | {metric: met}})}})


def with_slice(scores: Scores, name: str, part: str, met: Interval) -> Scores:
    found = scores.systems[name]
    return scores.model_copy(update={"systems": scores.systems | {name: found.model_copy(update={"slices": found.slices | {part: met}})}})


def broken(scores: Scores, released: str | None = None) -> list[str]:
    """Names of the rules that the scores break."""
    found = judge(CONFIG, scores, [], released, [])
    failed = [rule.name for rule in found.rules if not rule.passed]
    assert found.accepted is (not failed)
    assert all(f"{rule.name}: {rule.observed}, expected {rule.expected}" in found.reason for rule in found.rules if not rule.passed)
    return failed


def stage(folder: Path, tensors: dict[str, Any], *, scores: Scores | None = None, **given: Any) -> Verdict:
    """The verdict of the stage on an adapter with these tensors in an otherwise good pipeline; `given` replaces a file's content."""
    adapter = folder / "adapter"
    adapter.mkdir()
    if tensors:
        save_file(tensors, adapter / "adapter_model.safetensors")
    if "cut" in given:
        whole = (adapter / "adapter_model.safetensors").read_bytes()
        (adapter / "adapter_model.safetensors").write_bytes(whole[: given["cut"]])
    files.write_json(adapter / "proof.json", given.get("proof", PASSED))
    files.write_json(folder / "scores.json", scores or scored(files.digest(adapter)))
    files.write_json(folder / "validation.json", given.get("validation", PASSED))
    files.write_json(folder / "examples_validation.json", given.get("examples_validation", PASSED))
    files.write_json(folder / "champion.json", ChampionFile(champion=given.get("champion")))
    (folder / "overrides.yaml").write_text(given.get("overrides", "[]\n").replace("DIGEST", files.digest(adapter)[:16]))
    names = ("scores.json", "validation.json", "examples_validation.json", "adapter", "champion.json", "overrides.yaml", "verdict.json")
    run(CONFIG, *(folder / name for name in names))
    return files.read_json(folder / "verdict.json", Verdict)


def failed(verdict: Verdict) -> list[str]:
    return [rule.name for rule in verdict.rules if not rule.passed]


def test_a_good_first_candidate_is_accepted_with_every_rule_in_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = stage(tmp_path, {"lora_B": torch.ones(2, 2)})
    assert verdict.accepted
    assert verdict.candidate == files.digest(tmp_path / "adapter")
    assert verdict.reason == f"accepted: all {len(verdict.rules)} rules passed; exact match 0.800 [0.76, 0.84]"
    assert capsys.readouterr().out == verdict.reason + "\n"
    assert [rule.name for rule in verdict.rules] == [
        "data validation passed", "no golden question in training", "adapter has tensors", "adapter is finite", "adapter is not zero", "adapter proof passed",
        "scores belong to this adapter", "enough golden questions", "metrics are in range", "floor exact_match", "floor hit_at_5", "better than the base model",
        "better than the most frequent answer", "champion", "no slice collapses",
    ]  # fmt: skip


def test_a_candidate_as_good_as_the_champion_is_accepted() -> None:
    assert broken(scored("c", match=0.8, champion=0.8), released="r-1") == []
    assert broken(scored("c", match=0.9, champion=0.8), released="r-1") == []


@pytest.mark.parametrize(("match", "base"), [(0.7, 0.9), (0.8, 0.8), (0.8, 0.67)])
def test_a_candidate_worse_than_the_base_model_or_equal_or_hardly_better_is_refused(match: float, base: float) -> None:
    assert broken(scored("c", match=match, base=base)) == ["better than the base model"]


def test_a_base_model_that_was_not_measured_is_a_refusal() -> None:
    scores = scored("c")
    assert broken(scores.model_copy(update={"differences": {}})) == ["better than the base model"]
    assert broken(scores.model_copy(update={"systems": {name: found for name, found in scores.systems.items() if name != BASE}})) == ["enough golden questions"]


def test_the_most_frequent_answer_must_be_beaten_without_overlap_and_must_be_measured() -> None:
    scores = scored("c")
    assert broken(with_metric(scores, FREQUENT, "exact_match", mean(0.73))) == ["better than the most frequent answer"]
    assert broken(scores.model_copy(update={"systems": {CANDIDATE: scores.systems[CANDIDATE], BASE: scores.systems[BASE]}})) == ["better than the most frequent answer"]


def test_a_candidate_worse_than_the_champion_is_refused() -> None:
    assert broken(scored("c", match=0.8, champion=0.9), released="r-1") == ["not worse than the champion in exact_match"]


def test_a_candidate_that_lost_a_metric_of_the_champion_is_refused() -> None:
    scores = scored("c", champion=0.8)
    gaps = scores.differences | {CHAMPION: {"exact_match": mean(0.0), "hit_at_5": mean(-0.1)}}
    assert broken(scores.model_copy(update={"differences": gaps}), released="r-1") == ["not worse than the champion in hit_at_5"]
    assert broken(scores.model_copy(update={"differences": gaps | {CHAMPION: {"exact_match": mean(0.0)}}}), released="r-1") == ["not worse than the champion in hit_at_5"]


def test_missing_scores_of_a_released_champion_are_a_refusal() -> None:
    rules = ["champion", "not worse than the champion in exact_match", "not worse than the champion in hit_at_5", "no slice falls behind the champion"]
    assert broken(scored("c"), released="r-1") == rules


def test_scores_of_another_champion_and_of_one_that_was_never_released_are_a_refusal() -> None:
    assert broken(scored("c", champion=0.8), released="r-2") == ["champion"]
    assert broken(scored("c", champion=0.8), released=None) == ["champion"]


def test_the_released_champion_is_read_from_its_file(tmp_path: Path) -> None:
    verdict = stage(tmp_path, {"lora_B": torch.ones(2, 2)}, champion=RELEASE)
    assert "champion: no scores of a champion, expected scores of r-1" in verdict.reason
    assert not verdict.accepted


@pytest.mark.parametrize("name", ["exact_match", "hit_at_5"])
def test_a_metric_below_its_floor_at_the_lower_end_is_refused(name: str) -> None:
    met = Interval(value=0.75, low=0.59, high=0.9, num=120)
    assert broken(with_metric(scored("c"), CANDIDATE, name, met)) == [f"floor {name}"]


def test_a_missing_metric_is_refused() -> None:
    scores = scored("c")
    metrics = {"exact_match": scores.systems[CANDIDATE].metrics["exact_match"]}
    assert broken(scores.model_copy(update={"systems": scores.systems | {CANDIDATE: scores.systems[CANDIDATE].model_copy(update={"metrics": metrics})}})) == ["floor hit_at_5"]


def test_a_null_metric_is_refused() -> None:
    assert broken(with_metric(scored("c"), CANDIDATE, "hit_at_5", Interval(value=None, low=None, high=None, num=0))) == ["floor hit_at_5"]
    assert broken(with_metric(scored("c"), CANDIDATE, "hit_at_5", Interval(value=None, low=None, high=None, num=120))) == ["metrics are in range", "floor hit_at_5"]


@pytest.mark.parametrize(
    "met",
    [
        Interval(value=1.5, low=1.4, high=1.6, num=120),
        Interval(value=-0.1, low=-0.2, high=0.9, num=120),
        Interval(value=0.9, low=0.95, high=0.99, num=120),
        Interval(value=0.9, low=0.8, high=0.85, num=120),
        Interval(value=0.9, low=0.8, high=None, num=120),
        Interval(value=math.nan, low=0.8, high=0.9, num=120),
        Interval(value=0.9, low=0.8, high=math.inf, num=120),
    ],
)
def test_a_metric_out_of_range_is_refused_in_any_system_slice_or_difference(met: Interval) -> None:
    scores = scored("c", champion=0.8)
    assert broken(with_metric(scores, CANDIDATE, "hit_at_5", met), released="r-1") == ["metrics are in range", "floor hit_at_5"]
    assert broken(with_metric(scores, BASE, "hit_at_5", met), released="r-1") == ["metrics are in range"]
    assert "metrics are in range" in broken(with_slice(scores, CANDIDATE, "style:typo", met), released="r-1")
    assert "metrics are in range" in broken(with_slice(scores, CHAMPION, "style:typo", met), released="r-1")


@pytest.mark.parametrize("met", [Interval(value=7.0, low=7.0, high=7.0, num=120), Interval(value=math.nan, low=0.5, high=0.9, num=120), Interval(value=0.9, low=0.8, high=math.inf, num=120)])
def test_a_difference_out_of_range_is_refused(met: Interval) -> None:
    scores = scored("c")
    assert broken(scores.model_copy(update={"differences": scores.differences | {BASE: {"exact_match": met}}})) == ["metrics are in range"]


def test_scores_without_any_system_break_every_rule_that_looks_at_them() -> None:
    empty = Scores(candidate="c", champion=None, num_questions=0, golden_digest="g", systems={}, differences={})
    assert broken(empty) == [
        "enough golden questions", "metrics are in range", "floor exact_match", "floor hit_at_5", "better than the base model",
        "better than the most frequent answer", "no slice collapses",
    ]  # fmt: skip


def test_too_few_questions_are_refused_whichever_number_says_so() -> None:
    assert broken(scored("c").model_copy(update={"num_questions": 99})) == ["enough golden questions"]
    assert broken(with_metric(scored("c"), CANDIDATE, "exact_match", mean(0.8, 99))) == ["enough golden questions"]
    assert broken(with_metric(scored("c"), BASE, "exact_match", mean(0.1, 99))) == ["enough golden questions"]


def test_a_collapsed_slice_is_refused_and_named_unless_it_has_too_few_questions() -> None:
    verdict = judge(CONFIG, with_slice(scored("c"), CANDIDATE, "style:typo", mean(0.2, 40)), [], None, [])
    rule = next(rule for rule in verdict.rules if not rule.passed)
    assert (rule.name, rule.observed, rule.examples) == ("no slice collapses", "1 of 1 slices", ["style:typo 0.200 [0.16, 0.24]"])
    assert not verdict.accepted
    assert broken(with_slice(scored("c"), CANDIDATE, "style:other", mean(0.2, 9))) == []


def test_a_candidate_whose_slices_are_all_too_small_or_missing_is_refused() -> None:
    scores = scored("c")
    bare = scores.systems[CANDIDATE].model_copy(update={"slices": {}})
    assert broken(scores.model_copy(update={"systems": scores.systems | {CANDIDATE: bare}})) == ["no slice collapses"]
    assert broken(with_slice(scores, CANDIDATE, "style:typo", mean(0.8, 9))) == ["no slice collapses"]


def test_a_slice_that_falls_far_behind_the_champions_is_refused_and_a_new_slice_is_not() -> None:
    scores = scored("c", champion=0.8)
    assert broken(with_slice(scores, CANDIDATE, "style:typo", mean(0.45, 40)), released="r-1") == ["no slice falls behind the champion"]
    assert broken(with_slice(scores, CANDIDATE, "style:new", mean(0.45, 40)), released="r-1") == []


def test_a_small_slice_falls_behind_only_where_the_champion_is_above_its_interval() -> None:
    scores = with_slice(scored("c", champion=0.8), CHAMPION, "page:a", Interval(value=0.9, low=0.7, high=1.0, num=10))
    lucky, fallen = Interval(value=0.5, low=0.2, high=0.9, num=10), Interval(value=0.4, low=0.1, high=0.7, num=10)
    assert broken(with_slice(scores, CANDIDATE, "page:a", lucky), released="r-1") == []
    assert broken(with_slice(scores, CANDIDATE, "page:a", fallen), released="r-1") == ["no slice falls behind the champion"]


def test_an_adapter_without_tensors_is_refused(tmp_path: Path) -> None:
    verdict = stage(tmp_path, {})
    assert failed(verdict) == ["adapter has tensors", "adapter is finite", "adapter is not zero"]
    assert "adapter has tensors: 0 tensors, expected at least 1" in verdict.reason


def test_an_adapter_of_zeros_is_refused(tmp_path: Path) -> None:
    verdict = stage(tmp_path, {"lora_A": torch.ones(2, 2), "lora_B": torch.zeros(2, 2)})
    assert failed(verdict) == ["adapter is not zero"]
    assert next(rule for rule in verdict.rules if not rule.passed).examples == ["lora_B"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_an_adapter_with_weights_that_are_not_finite_is_refused(tmp_path: Path, number: float) -> None:
    assert failed(stage(tmp_path, {"lora_A": torch.ones(2, 2), "lora_B": torch.tensor([1.0, number])})) == ["adapter is finite"]


@pytest.mark.parametrize("cut", [0, 5, 60, -1])
def test_a_truncated_adapter_is_refused(tmp_path: Path, cut: int) -> None:
    assert failed(stage(tmp_path, {"lora_B": torch.ones(8, 8)}, cut=cut)) == ["adapter can be read"]


def test_scores_of_another_adapter_are_refused(tmp_path: Path) -> None:
    verdict = stage(tmp_path, {"lora_B": torch.ones(2, 2)}, scores=scored("another"))
    assert failed(verdict) == ["scores belong to this adapter"]
    assert f"scores belong to this adapter: another, expected {files.digest(tmp_path / 'adapter')[:12]}" in verdict.reason


@pytest.mark.parametrize("report", [FAILED, EMPTY, FAILED.model_copy(update={"passed": True})])
@pytest.mark.parametrize(("name", "rule"), [("validation", "data validation passed"), ("examples_validation", "no golden question in training"), ("proof", "adapter proof passed")])
def test_a_report_that_failed_or_holds_no_check_or_contradicts_its_checks_is_refused(tmp_path: Path, name: str, rule: str, report: Report) -> None:
    assert failed(stage(tmp_path, {"lora_B": torch.ones(2, 2)}, scores=None, **{name: report})) == [rule]


def test_a_report_that_is_missing_stops_the_stage_without_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    files.write_json(tmp_path / "adapter/proof.json", PASSED)
    files.write_json(tmp_path / "scores.json", scored("c"))
    files.write_json(tmp_path / "champion.json", ChampionFile(champion=None))
    names = ("scores.json", "validation.json", "examples_validation.json", "adapter", "champion.json", "overrides.yaml", "verdict.json")
    with pytest.raises(UserError, match="validation.json is missing: `dvc repro` makes it"):
        run(CONFIG, *(tmp_path / name for name in names))
    assert not (tmp_path / "verdict.json").exists()


def test_an_override_lets_the_named_rule_be_broken_and_is_visible_in_the_verdict(tmp_path: Path) -> None:
    entry = "- {candidate: DIGEST, rules: [no golden question in training], who: ada, why: wording is common, until: 2999-01-31}\n"
    verdict = stage(tmp_path, {"lora_B": torch.ones(2, 2)}, examples_validation=FAILED, overrides=entry)
    digest = files.digest(tmp_path / "adapter")
    assert verdict.accepted
    assert failed(verdict) == ["no golden question in training"]
    assert verdict.overrides == [Override(candidate=digest[:16], rules=["no golden question in training"], who="ada", why="wording is common", until="2999-01-31")]
    assert verdict.reason.startswith("accepted by override: no golden question in training by ada until 2999-01-31 (wording is common); exact match 0.800")


def test_an_override_of_one_rule_does_not_excuse_another(tmp_path: Path) -> None:
    entry = "- {candidate: DIGEST, rules: [no golden question in training], who: ada, why: wording is common, until: 2999-01-31}\n"
    verdict = stage(tmp_path, {"lora_B": torch.ones(2, 2)}, examples_validation=FAILED, validation=FAILED, overrides=entry)
    assert not verdict.accepted
    assert verdict.reason.startswith(f"refused: 1 of {len(verdict.rules)} rules failed: data validation passed: ")


def test_an_override_that_nothing_needs_is_not_in_the_verdict(tmp_path: Path) -> None:
    entry = "- {candidate: DIGEST, rules: [no golden question in training], who: ada, why: wording is common, until: 2999-01-31}\n"
    verdict = stage(tmp_path, {"lora_B": torch.ones(2, 2)}, overrides=entry)
    assert verdict.overrides == []
    assert verdict.reason.startswith("accepted: all ")


@pytest.mark.parametrize("changed", [{"until": "2000-01-31"}, {"candidate": "0123456789abcdef"}])
def test_an_override_that_expired_or_names_another_candidate_excuses_nothing(tmp_path: Path, changed: dict[str, str]) -> None:
    entry = {"candidate": "DIGEST", "until": "2999-01-31"} | changed
    text = f"- {{candidate: '{entry['candidate']}', rules: [no golden question in training], who: ada, why: wording is common, until: {entry['until']}}}\n"
    verdict = stage(tmp_path, {"lora_B": torch.ones(2, 2)}, examples_validation=FAILED, overrides=text)
    assert not verdict.accepted
    assert verdict.overrides == []


def test_an_override_holds_on_its_last_day_and_not_on_the_next(tmp_path: Path) -> None:
    (tmp_path / "overrides.yaml").write_text("- {candidate: 0123456789ab, rules: [champion], who: ada, why: first, until: 2030-01-31}\n")
    assert len(read_overrides(tmp_path / "overrides.yaml", "0123456789abcdef", datetime.date(2030, 1, 31))) == 1
    assert read_overrides(tmp_path / "overrides.yaml", "0123456789abcdef", datetime.date(2030, 2, 1)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {candidate: 0123456789ab, rules: [champion], who: ada, why: first, until: soon}", "Invalid isoformat string: 'soon'"),
        ("- {candidate: 0123456789ab, rules: [champion], who: ada, why: first}", "Invalid isoformat string: 'None'"),
        ("- {candidate: 0123456789ab, rules: [champion], who: ada, until: 2030-01-31}", "why\n  Field required"),
        ("- {candidate: 0123456789ab, rules: champion, who: ada, why: first, until: 2030-01-31}", "rules\n  Input should be a valid list"),
        ("- {candidate: 0123456789ab, rules: [champion], who: ada, why: first, until: 2030-01-31, all: true}", "all\n  Extra inputs are not permitted"),
        ("- {candidate: 0123456789a, rules: [champion], who: ada, why: first, until: 2030-01-31}", "candidate: '0123456789a' is too short: give at least 12 hex digits"),
        ("- {candidate: 0123456789ab, rules: [champion], who: ' ', why: first, until: 2030-01-31}", "who, why: an override names its author and its reason"),
        ("- {candidate: 0123456789ab, rules: [champion], who: ada, why: '', until: 2030-01-31}", "who, why: an override names its author and its reason"),
        ("- champion", "is no list of overrides"),
        ("candidate: 0123456789ab", "is no list of overrides"),
        ("7", "is no list of overrides"),
        ("- [", "is no list of overrides: while parsing"),
    ],
)
def test_a_malformed_override_is_an_error_that_names_the_file(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "overrides.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_overrides(tmp_path / "overrides.yaml", "0123456789abcdef", datetime.date(2026, 1, 1))
    assert str(caught.value).startswith(f"{tmp_path}/overrides.yaml: ")
    assert problem in str(caught.value)


def test_a_missing_file_of_overrides_names_its_remedy_and_an_empty_one_holds_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="overrides.yaml is missing: `git checkout "):
        read_overrides(tmp_path / "overrides.yaml", "0123456789abcdef", datetime.date(2026, 1, 1))
    (tmp_path / "overrides.yaml").write_text("# none\n")
    assert read_overrides(tmp_path / "overrides.yaml", "0123456789abcdef", datetime.date(2026, 1, 1)) == []
