import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from pipelines import basemodel, files, generation, prompts
from pipelines.config.base import MadeModel
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig, ParityConfig, VllmConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import Check
from pipelines.contracts.scores import Interval, Scores, System
from pipelines.contracts.verdict import Verdict
from pipelines.errors import Refusal, UserError
from pipelines.prompts import Prompt
from pipelines.serving import repository
from pipelines.stages.export import run

CONFIG = ExportConfig(
    backend="python", version=1, max_batch_size=4, max_queue_delay_microseconds=0, num_instances=1, max_texts=64, max_question_characters=300, max_prompt_tokens=200,
    max_new_tokens=9, timeout_seconds=20.0, search_timeout_seconds=2.0, max_requests_at_once=32,
    quantisation="none", parity=ParityConfig(num_prompts=10, min_same_tokens=0.9, min_same_answers=0.5),
    vllm=VllmConfig(repository="/models", lora="merged", gpu_memory_utilization=0.9, tensor_parallel_size=1),
)  # fmt: skip
EVALUATE = EvaluateConfig(top_k=5, num_passages=2, max_new_tokens=9, batch_size=8, precision="fp32", num_resamples=200, grounded_similarity=0.5, seed=7)
TINY = MadeModel(vocabulary_size=400, hidden_size=16, num_layers=1, num_heads=2, num_tokens=2000, sequence_length=16, batch_size=2, learning_rate=0.001)
PATHS = [Path(name) for name in ("verdict.json", "scores.json", "documents.parquet", "chunks.parquet", "index.json", "examples", "base", "adapter", "triton")]
RULE = Check(name="floor exact_match", passed=True, observed="0.81", expected=">= 0.6")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base and adapter."""
    folder = tmp_path_factory.mktemp("models")
    basemodel.make(["Documents make a small model. " * 40], TINY, 7, folder / "base")
    torch.manual_seed(7)
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(generation.load(folder / "base").model, lora).save_pretrained(folder / "adapter")
    (folder / "encoder").mkdir()
    (folder / "encoder/modules.json").write_text("[]")
    prompts.save(Prompt(name="faq-v1", description="", prompt="Question: {question}\nAnswer:", passage=""), folder / "adapter")
    return folder


def prepare(monkeypatch: pytest.MonkeyPatch, folder: Path, models: Path) -> str:
    """Everything that export reads, in a Git clone with one commit; returns the candidate's digest. The verdict is the test's own."""
    monkeypatch.chdir(folder)
    shutil.copytree(models, ".", dirs_exist_ok=True)
    row: dict[str, Any] = {
        "doc_id": "1",
        "uri": "a.md",
        "title": None,
        "text": "a",
        "sections": [],
        "pages": [],
        "media_type": "text/plain",
        "source": "book",
        "digest": "d",
        "content_digest": "c",
        "language": "en",
        "aliases": [],
    }
    files.write(Path("documents.parquet"), DOCUMENTS, [row, row | {"doc_id": "2"}])
    Path("chunks.parquet").write_text("chunks")
    encoder = Encoder(model=str(models / "encoder"), revision=None, digest=files.digest(models / "encoder"), precision="fp32")
    Path("examples").mkdir()
    Path("examples/facts.json").write_text('{"refusals": ["No."]}')
    files.write_json(
        Path("index.json"), Receipt(collection="Chunks_1", digest="i", num_objects=2, dimensions=3, encoder=encoder, chunks_digest="c", vectors_digest="v", hybrid_alpha=0.7, server_version="1")
    )
    met = Interval(value=0.81, low=0.76, high=0.85, num=300)
    digest = files.digest(Path("adapter"))
    systems = {"candidate": System(metrics={"exact_match": met}, slices={})}
    files.write_json(Path("scores.json"), Scores(candidate=digest, champion=None, num_questions=300, golden_digest="g", systems=systems, differences={}))
    Path("params.yaml").write_text("index: {}\n")
    who = {"GIT_AUTHOR_NAME": "ada", "GIT_AUTHOR_EMAIL": "ada@localhost", "GIT_COMMITTER_NAME": "ada", "GIT_COMMITTER_EMAIL": "ada@localhost"}
    for command in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "one"]):
        subprocess.run(["git", *command], check=True, env=os.environ | who)
    return digest


def test_an_accepted_candidate_becomes_a_repository_with_the_record_of_what_it_was_made_of(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    digest = prepare(monkeypatch, tmp_path, models)
    files.write_json(Path("verdict.json"), Verdict(accepted=True, candidate=digest, reason="accepted", rules=[RULE], overrides=[]))
    run(CONFIG, EVALUATE, *PATHS)
    repository.check(Path("triton"))
    record = files.read_json(Path("triton/release.json"), ReleaseRecord)
    assert (record.num_documents, record.collection, record.encoder, record.prompt, record.exact_match) == (2, "Chunks_1", str(models / "encoder"), "faq-v1", 0.81)
    assert (record.adapter, record.index, record.chunks) == (digest, "i", files.digest(Path("chunks.parquet")))
    assert record.model == files.digest(Path("triton/generator/1/weights"))
    assert record.verdict == files.digest(Path("verdict.json"))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert (record.code_commit, record.code_modified) == (commit, False)
    assert f"release {record.release_id}: triton holds embedder, generator, assistant version 1" in capsys.readouterr().out


def test_the_same_inputs_give_the_same_release_and_changed_code_or_documents_show(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = prepare(monkeypatch, tmp_path, models)
    files.write_json(Path("verdict.json"), Verdict(accepted=True, candidate=digest, reason="accepted", rules=[RULE], overrides=[]))
    run(CONFIG, EVALUATE, *PATHS)
    first = files.digest(Path("triton"))
    run(CONFIG, EVALUATE, *PATHS)
    assert files.digest(Path("triton")) == first
    before = files.read_json(Path("triton/release.json"), ReleaseRecord)
    Path("params.yaml").write_text("index: {keep: 3}\n")
    run(CONFIG, EVALUATE, *PATHS)
    assert files.read_json(Path("triton/release.json"), ReleaseRecord) == before.model_copy(update={"code_modified": True})
    Path("chunks.parquet").write_text("other chunks")
    run(CONFIG, EVALUATE, *PATHS)
    assert files.read_json(Path("triton/release.json"), ReleaseRecord).release_id != before.release_id


def test_a_refused_candidate_is_not_exported_and_the_old_repository_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("triton").mkdir()
    Path("triton/release.json").write_text("old")
    bad = RULE.model_copy(update={"passed": False, "observed": "0.41"})
    files.write_json(Path("verdict.json"), Verdict(accepted=False, candidate="c", reason="refused: 1 of 2 rules failed", rules=[RULE.model_copy(update={"name": "good"}), bad], overrides=[]))
    with pytest.raises(Refusal) as caught:
        run(CONFIG, EVALUATE, *PATHS)
    assert str(caught.value).splitlines() == [
        "refused: the gate did not pass. Nothing is exported. Look at data/reports/worst_answers.html; a person may override a rule in data/overrides.yaml",
        "  - floor exact_match: 0.41, expected >= 0.6",
    ]
    assert [path.name for path in Path("triton").iterdir()] == ["release.json"]


def test_a_verdict_about_another_candidate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("adapter").mkdir()
    files.write_json(Path("verdict.json"), Verdict(accepted=True, candidate="0123456789abcdef", reason="accepted", rules=[RULE], overrides=[]))
    with pytest.raises(Refusal, match="verdict.json is about candidate 0123456789ab, not about adapter: run `dvc repro`"):
        run(CONFIG, EVALUATE, *PATHS)
    assert not Path("triton").exists()


def test_without_a_commit_no_release_is_made_and_nothing_half_written_is_left(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = prepare(monkeypatch, tmp_path, models)
    files.write_json(Path("verdict.json"), Verdict(accepted=True, candidate=digest, reason="accepted", rules=[RULE], overrides=[]))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="the code's commit cannot be told, so no release can be made"):
        run(CONFIG, EVALUATE, *PATHS)
    assert [path.name for path in tmp_path.iterdir() if "triton" in path.name] == []


def test_scores_without_an_exact_match_make_no_release_even_where_an_override_let_them_pass(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = prepare(monkeypatch, tmp_path, models)
    files.write_json(Path("verdict.json"), Verdict(accepted=True, candidate=digest, reason="accepted", rules=[RULE], overrides=[]))
    scores = files.read_json(Path("scores.json"), Scores)
    files.write_json(Path("scores.json"), scores.model_copy(update={"systems": {"candidate": System(metrics={}, slices={})}}))
    with pytest.raises(UserError, match="scores.json: systems: candidate: exact_match: is missing"):
        run(CONFIG, EVALUATE, *PATHS)
    assert not Path("triton").exists()


def quantised(kind: str, monkeypatch: pytest.MonkeyPatch, folder: Path, models: Path) -> ExportConfig:
    """Everything ready for an export with this quantisation, held-out questions included."""
    from datasets import Dataset, DatasetDict

    digest = prepare(monkeypatch, folder, models)
    files.write_json(Path("verdict.json"), Verdict(accepted=True, candidate=digest, reason="accepted", rules=[RULE], overrides=[]))
    facts = Path("examples/facts.json").read_text()
    DatasetDict({"validation": Dataset.from_dict({"prompt": [f"Question: What is document {number}?\nAnswer:" for number in range(20)]})}).save_to_disk("examples")
    Path("examples/facts.json").write_text(facts)
    return CONFIG.model_copy(update={"quantisation": kind})


def test_a_quantised_export_is_measured_in_tritons_environment_and_says_its_parity(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    run(quantised("int8", monkeypatch, tmp_path, models), EVALUATE, *PATHS)
    assert re.search(r"parity of int8: \d+\.\d% of the tokens and \d+\.\d% of the answers are the unquantised model's", capfd.readouterr().out)
    assert json.loads(Path("triton/generator/1/settings.json").read_text())["quantisation"] == "int8"
    assert not list(Path("triton").rglob("__pycache__"))


def test_a_quantised_model_that_answers_otherwise_is_not_exported(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = quantised("int8", monkeypatch, tmp_path, models)
    tensors = load_file("base/model.safetensors")
    tensors["lm_head.weight"][:, 0] += 10000.0  # the same for every token: no answer changes, but int8's scale is spent on it
    save_file(tensors, "base/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refusal, match="(?s)the parity of int8 with the unquantised model did not pass.*tokens equal the unquantised model's: .*expected at least 90.0%"):
        run(config, EVALUATE, *PATHS)
    assert not Path("triton").exists()


@pytest.mark.slow
def test_a_model_that_does_not_fit_a_quantisation_is_told(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="export.quantisation: int4 does not work with this model: ValueError: int4 needs layers whose number of inputs is a multiple of 32; .* has 16"):
        run(quantised("int4", monkeypatch, tmp_path, models), EVALUATE, *PATHS)
