import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from pipelines import files
from pipelines.config import params
from pipelines.config.base import MadeModel
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig, ParityConfig, VllmConfig
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.generation import GenerationConfig
from pipelines.contracts.base_receipt import BaseReceipt
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.contracts.redaction import Redaction
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import Check
from pipelines.contracts.scores import Interval, Scores, System
from pipelines.contracts.verdict import Verdict
from pipelines.decision import bill_of_materials, calibrating
from pipelines.decision.bill_of_materials import Model
from pipelines.errors import Refusal, UserError
from pipelines.questions import prompts
from pipelines.questions.prompts import Prompt
from pipelines.runtime import transformers_engine
from pipelines.serving import model_repository, parity
from pipelines.stages.export import Config, Inputs, Outputs, run
from pipelines.system import paths
from pipelines.training import answer_engine, base_model
from tests import made_guard

EXPORT = ExportConfig(
    backend="python",
    version=1,
    max_batch_size=4,
    max_queue_delay_microseconds=0,
    num_instances=1,
    max_texts=64,
    max_question_characters=300,
    max_prompt_tokens=200,
    max_new_tokens=9,
    timeout_seconds=20.0,
    search_timeout_seconds=2.0,
    max_requests_at_once=32,
    quantisation="none",
    parity=ParityConfig(
        num_prompts=10, num_engine_prompts=10, min_same_tokens=0.9, min_same_answers=0.5
    ),
    vllm=VllmConfig(
        repository="/models", lora="merged", gpu_memory_utilization=0.9, tensor_parallel_size=1
    ),
)
EVALUATE = EvaluateConfig(
    top_k=5,
    num_passages=2,
    max_readings=1,
    max_prompt_tokens=200,
    max_new_tokens=9,
    batch_size=8,
    precision="fp32",
    num_base_questions=150,
    num_resamples=200,
    grounded_similarity=0.5,
    seed=7,
)
VALUES = params.load(Path(__file__).parents[2] / "params.yaml")
CONFIG = Config(
    EXPORT,
    EVALUATE,
    GenerationConfig(engine="transformers"),
    VALUES.section(FinetuneConfig),
)
TINY = MadeModel(
    vocabulary_size=400,
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    num_tokens=2000,
    sequence_length=16,
    batch_size=2,
    learning_rate=0.001,
)
STATE = paths.state_folder()  # of this clone, before a test changes the folder
INPUTS = Inputs(
    verdict=Path("verdict.json"),
    sbom=Path("sbom.cdx.json"),
    redaction=Path("redaction.json"),
    scores=Path("scores.json"),
    documents=Path("documents.parquet"),
    chunks=Path("chunks.parquet"),
    index=Path("index.json"),
    calibration=Path("calibration.json"),
    guard=Path("guard.json"),
    examples=Path("examples"),
    base=Path("base"),
    adapter=Path("adapter"),
)
RECEIPT_OF_BASE = BaseReceipt(
    source="tiny-labs/tiny",
    revision="0123abcd",
    licence="apache-2.0",
    architecture="LlamaForCausalLM",
    num_parameters=12345,
    vocabulary_size=400,
    max_positions=None,
    has_chat_template=False,
    end_tokens=[],
)
REDACTION = Redaction(
    documents_changed=1,
    by_type={"EMAIL_ADDRESS": 2, "IBAN_CODE": 0},
    by_source={"book": {"EMAIL_ADDRESS": 2}},
    actions={"EMAIL_ADDRESS": "mask", "IBAN_CODE": "hash"},
)
OUTPUTS = Outputs(triton=Path("triton"))
RULE = Check(name="floor exact_match", passed=True, observed="0.81", expected=">= 0.6")
SMALL_SLICE = Interval(value=1.0, low=1.0, high=1.0, num=3)
TEMPLATE = Prompt(name="faq-v1", description="", prompt="Question: {question}\nAnswer:", passage="")
DOCUMENT: dict[str, Any] = {
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
    "readers": ["everyone"],
}
IDENTITY = {
    "GIT_AUTHOR_NAME": "ada",
    "GIT_AUTHOR_EMAIL": "ada@localhost",
    "GIT_COMMITTER_NAME": "ada",
    "GIT_COMMITTER_EMAIL": "ada@localhost",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base, adapter and encoder."""
    folder = tmp_path_factory.mktemp("models")
    base_model.make(["Documents make a small model. " * 40], TINY, 7, folder / "base")
    torch.manual_seed(7)
    lora = LoraConfig(
        r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    base = transformers_engine.load(folder / "base").model
    get_peft_model(base, lora).save_pretrained(folder / "adapter")
    (folder / "encoder").mkdir()
    (folder / "encoder/modules.json").write_text("[]")
    prompts.save(TEMPLATE, folder / "adapter")
    return folder


@pytest.fixture
def candidate(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything that export reads, with an accepting verdict, in a Git clone with one commit.

    The clone is the current folder. Gives the candidate's digest.
    """
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models, ".", dirs_exist_ok=True)
    digest = files.digest(INPUTS.adapter)
    write_receipt(models / "encoder")
    write_scores({"exact_match": Interval(value=0.81, low=0.76, high=0.85, num=300)})
    write_verdict(Verdict(accepted=True, candidate=digest, reason="", rules=[RULE], overrides=[]))
    files.write(INPUTS.documents, DOCUMENTS, [DOCUMENT, DOCUMENT | {"doc_id": "2"}])
    INPUTS.chunks.write_text("chunks")
    files.write_json(INPUTS.calibration, calibrating.without_passages())
    files.write_json(INPUTS.guard, made_guard.make(files.digest(models / "encoder"), 3))
    write_examples()
    files.write_json(INPUTS.base / "receipt.json", RECEIPT_OF_BASE)
    files.write_json(INPUTS.redaction, REDACTION)
    INPUTS.sbom.write_text(bill_of_materials.render(parts_of(digest), [], []))
    Path("params.yaml").write_text("index: {}\n")
    for command in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "one"]):
        subprocess.run(["git", *command], check=True, env=os.environ | IDENTITY)
    return digest


def parts_of(digest: str) -> Model:
    return Model("candidate", "assistant", digest[:12], None, digest)


def write_examples() -> None:
    """Three to train with and twenty held out."""
    from datasets import Dataset, DatasetDict

    questions = [f"Question: What is document {number}?\nAnswer:" for number in range(20)]
    splits = {"train": questions[:3], "validation": questions}
    examples = DatasetDict()
    for name, prompt in splits.items():
        examples[name] = Dataset.from_dict({"prompt": prompt})
    examples.save_to_disk(str(INPUTS.examples))
    (INPUTS.examples / "facts.json").write_text('{"refusals": ["No."]}')


def write_verdict(verdict: Verdict) -> None:
    files.write_json(INPUTS.verdict, verdict)


def write_receipt(encoder: Path) -> None:
    receipt = Receipt(
        collection="Chunks_1",
        digest="i",
        num_objects=2,
        dimensions=3,
        encoder=Encoder(
            model=str(encoder), revision=None, digest=files.digest(encoder), precision="fp32"
        ),
        chunks_digest="c",
        vectors_digest="v",
        hybrid_alpha=0.7,
        server_version="1",
    )
    files.write_json(INPUTS.index, receipt)


def write_scores(metrics: dict[str, Interval]) -> None:
    scores = Scores(
        candidate="c",
        champion=None,
        num_questions=300,
        golden_digest="g",
        systems={"candidate": System(metrics=metrics, slices={"style:typo": SMALL_SLICE})},
        differences={},
    )
    files.write_json(INPUTS.scores, scores)


def read_record() -> ReleaseRecord:
    return files.read_json(Path("triton/release.json"), ReleaseRecord)


def test_an_accepted_candidate_becomes_a_repository_with_the_record_of_its_origin(
    candidate: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(CONFIG, INPUTS, OUTPUTS)
    model_repository.check(OUTPUTS.triton)
    record = read_record()
    assert (record.num_documents, record.collection) == (2, "Chunks_1")
    assert (record.encoder, record.prompt) == (str(models / "encoder"), "faq-v1")
    assert record.exact_match == 0.81
    assert (record.adapter, record.index) == (candidate, "i")
    assert record.chunks == files.digest(INPUTS.chunks)
    assert record.model == files.digest(Path("triton/generator/1/weights"))
    assert record.verdict == files.digest(INPUTS.verdict)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert (record.code_commit, record.code_modified) == (head.stdout.strip(), False)
    assert (OUTPUTS.triton / "sbom.cdx.json").read_bytes() == INPUTS.sbom.read_bytes()
    assert (
        f"release {record.release_id}: triton holds embedder, generator, assistant version 1"
        in capsys.readouterr().out
    )


@pytest.mark.usefixtures("candidate")
def test_an_export_carries_a_model_card_with_the_numbers_of_the_artifacts() -> None:
    run(CONFIG, INPUTS, OUTPUTS)
    record = read_record()
    card = ModelCard.load(OUTPUTS.triton / "model_card.md")
    assert (card.data.license, card.data.base_model) == ("apache-2.0", "tiny-labs/tiny")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("exact_match", 0.81)
    assert result.metric_args == {"low": 0.76, "high": 0.85, "num": 300}
    for line in (
        f"# Assistant {record.release_id}",
        f"| base model | tiny-labs/tiny | 0123abcd | apache-2.0 | {record.base} |",
        "| book | 2 |",
        "300 golden questions (digest g).",
        "| EMAIL_ADDRESS | 2 | mask |",
        f"| learning_rate | {CONFIG.finetune.learning_rate} |",
        "| exact_match | 0.810 [0.760, 0.850] (300) |",
        "| floor exact_match | 0.81 | >= 0.6 | yes |",
        "- cannot tell: style:typo has 3 of 10 questions",
        "Not released: nobody has decided about this export yet.",
    ):
        assert line in card.text.splitlines()
    assert "3 examples and 20 for validation" in card.text


@pytest.mark.usefixtures("candidate")
@pytest.mark.parametrize("path", [INPUTS.redaction, INPUTS.sbom, INPUTS.base / "receipt.json"])
def test_an_artifact_that_the_card_needs_is_no_gap_but_an_error(path: Path) -> None:
    path.unlink()
    with pytest.raises(UserError, match=f"{path}:? is missing"):
        run(CONFIG, INPUTS, OUTPUTS)
    assert not OUTPUTS.triton.exists()


@pytest.mark.usefixtures("candidate")
def test_a_list_of_the_parts_of_another_candidate_is_not_exported() -> None:
    INPUTS.sbom.write_text(bill_of_materials.render(parts_of("f" * 64), [], []))
    with pytest.raises(
        UserError, match=r"sbom\.cdx\.json: is about candidate f+, not .*`dvc repro"
    ):
        run(CONFIG, INPUTS, OUTPUTS)


def test_the_same_inputs_give_the_same_release_and_changed_code_or_documents_show(
    candidate: str,
) -> None:
    run(CONFIG, INPUTS, OUTPUTS)
    digest = files.digest(OUTPUTS.triton)
    run(CONFIG, INPUTS, OUTPUTS)
    assert files.digest(OUTPUTS.triton) == digest
    record = read_record()
    Path("params.yaml").write_text("index: {keep: 3}\n")
    run(CONFIG, INPUTS, OUTPUTS)
    assert read_record() == record.model_copy(update={"code_modified": True})
    INPUTS.chunks.write_text("changed chunks")
    run(CONFIG, INPUTS, OUTPUTS)
    assert read_record().release_id != record.release_id


def test_a_refused_candidate_is_not_exported_and_the_old_repository_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    OUTPUTS.triton.mkdir()
    (OUTPUTS.triton / "release.json").write_text("old")
    good = RULE.model_copy(update={"name": "good"})
    bad = RULE.model_copy(update={"passed": False, "observed": "0.41"})
    reason = "refused: 1 of 2 rules failed"
    write_verdict(
        Verdict(accepted=False, candidate="c", reason=reason, rules=[good, bad], overrides=[])
    )
    with pytest.raises(Refusal) as caught:
        run(CONFIG, INPUTS, OUTPUTS)
    assert str(caught.value).splitlines() == [
        "refused: the gate did not pass. Nothing is exported. Look at "
        "data/reports/worst_answers.html; a person may override a rule in data/overrides.yaml",
        "  - floor exact_match: 0.41, expected >= 0.6",
    ]
    assert [path.name for path in OUTPUTS.triton.iterdir()] == ["release.json"]


def test_a_verdict_about_a_different_candidate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    INPUTS.adapter.mkdir()
    write_verdict(
        Verdict(accepted=True, candidate="0123456789abcdef", reason="", rules=[RULE], overrides=[])
    )
    message = "verdict.json is about candidate 0123456789ab, not about adapter: run `dvc repro`"
    with pytest.raises(Refusal, match=message):
        run(CONFIG, INPUTS, OUTPUTS)
    assert not OUTPUTS.triton.exists()


def test_without_a_commit_no_release_is_made_and_nothing_half_written_is_left(
    candidate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    message = "the commit of the code is unknown, so no release can be made"
    with pytest.raises(UserError, match=message):
        run(CONFIG, INPUTS, OUTPUTS)
    assert list(tmp_path.glob("*triton*")) == []


def test_scores_without_an_exact_match_make_no_release_even_if_an_override_let_them_pass(
    candidate: str,
) -> None:
    write_scores({})
    with pytest.raises(UserError, match="scores.json: systems: candidate: exact_match: is missing"):
        run(CONFIG, INPUTS, OUTPUTS)
    assert not OUTPUTS.triton.exists()


def quantised(kind: str) -> Config:
    """The configuration with this quantisation."""
    return replace(CONFIG, export=EXPORT.model_copy(update={"quantisation": kind}))


@pytest.fixture
def shared_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs that this clone has written already."""
    monkeypatch.setattr(paths, "state_folder", lambda: STATE)


@pytest.mark.usefixtures("candidate", "shared_graphs")
def test_an_export_for_openvino_holds_its_graph_and_says_its_parity(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(replace(CONFIG, generation=GenerationConfig(engine="openvino")), INPUTS, OUTPUTS)
    printed = capsys.readouterr().out
    assert "generation.engine: openvino: openvino answers (as configured)" in printed
    assert "parity of openvino with transformers: 100.0% of the tokens and 100.0% of" in printed
    folder = OUTPUTS.triton / "generator/1"
    assert json.loads((folder / "settings.json").read_text())["engine"] == "openvino"
    assert (folder / "weights/openvino_model.bin").exists()
    assert not (folder / "weights/model.safetensors").exists()
    model_repository.check(OUTPUTS.triton)
    file = folder / "weights/openvino_model.bin"
    file.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(UserError, match="openvino_model.bin: is damaged: it ends before"):
        model_repository.check(OUTPUTS.triton)


@pytest.mark.usefixtures("candidate", "shared_graphs")
def test_a_graph_with_different_weights_does_not_pass_the_parity_of_engines() -> None:
    answer_engine.write(INPUTS.base, None, Path("graph"))
    questions = [f"Question: What is document {number}?\nAnswer:" for number in range(10)]
    tuned = parity.Candidate(INPUTS.base, INPUTS.adapter)
    report = parity.measure_engine(EXPORT, EVALUATE, Path("graph"), tuned, questions)
    assert not report.passed
    message = "answers equal those of transformers, unquantised"
    assert message in [check.name for check in report.checks if not check.passed]


@pytest.mark.usefixtures("candidate")
def test_a_quantised_export_for_openvino_is_refused_with_its_reason() -> None:
    config = replace(quantised("int8"), generation=GenerationConfig(engine="openvino"))
    message = "export.quantisation: int8 is for engine transformers, whose weights torchao"
    with pytest.raises(UserError, match=message):
        run(config, INPUTS, OUTPUTS)
    assert not OUTPUTS.triton.exists()


def test_a_quantised_export_is_measured_in_tritons_environment_and_says_its_parity(
    candidate: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run(quantised("int8"), INPUTS, OUTPUTS)
    assert re.search(
        r"parity of int8 with transformers: \d+\.\d% of the tokens and \d+\.\d% of the answers "
        "are the same",
        capfd.readouterr().out,
    )
    settings = json.loads(Path("triton/generator/1/settings.json").read_text())
    assert settings["quantisation"] == "int8"
    assert not list(OUTPUTS.triton.rglob("__pycache__"))


def test_a_quantised_model_that_answers_differently_is_not_exported(candidate: str) -> None:
    config = quantised("int8")
    tensors = load_file("base/model.safetensors")
    # The same for every token: no answer changes, but int8's scale is spent on it.
    tensors["lm_head.weight"][:, 0] += 10000.0
    save_file(tensors, "base/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refusal) as caught:
        run(config, INPUTS, OUTPUTS)
    message = str(caught.value)
    assert "the parity of int8 with transformers did not pass" in message
    assert re.search(
        "tokens equal those of transformers, unquantised: .*expected at least 90.0%", message
    )
    assert not OUTPUTS.triton.exists()


@pytest.mark.slow
def test_a_model_that_does_not_fit_a_quantisation_is_named(candidate: str) -> None:
    message = (
        "export.quantisation: int4 does not work with this model: ValueError: int4 needs layers "
        "whose number of inputs is a multiple of 32; .* has 16"
    )
    with pytest.raises(UserError, match=message):
        run(quantised("int4"), INPUTS, OUTPUTS)
