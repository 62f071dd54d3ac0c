"""export: an accepted candidate -> a Triton model repository and the record of its origin."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipelines import files
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.generation import GenerationConfig
from pipelines.contracts.base_receipt import BaseReceipt
from pipelines.contracts.calibration import Calibration
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.guard import Guard
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.redaction import Redaction
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import CheckCode, Report
from pipelines.contracts.scores import CANDIDATE, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.decision import bill_of_materials, calibrating, model_card
from pipelines.errors import Refusal, UserError, demand_none
from pipelines.questions import prompts
from pipelines.runtime.rendering import ModelInput
from pipelines.serving import model_repository, parity
from pipelines.serving.model_configs import GENERATOR, MODELS
from pipelines.system import git
from pipelines.training import answer_engine
from pipelines.training.answer_engine import Engine
from pipelines.vectorstore import locate_encoder

# Code and hand-written inputs; the pipeline's own results do not count as a modification.
CODE_PATHS = (
    "pipelines",
    "params.yaml",
    "dvc.yaml",
    "data/faq",
    "data/golden",
    "data/guards",
    "data/qa",
    "data/prompts",
    "data/raw",
)


@dataclass(frozen=True)
class Config:
    """Sections of params.yaml."""

    export: ExportConfig
    evaluate: EvaluateConfig
    generation: GenerationConfig
    finetune: FinetuneConfig  # for the model card


@dataclass(frozen=True)
class Inputs:
    """Files that the stage reads."""

    verdict: Path
    sbom: Path
    scores: Path
    redaction: Path
    documents: Path
    chunks: Path
    index: Path
    calibration: Path
    examples: Path
    base: Path
    adapter: Path
    guard: Path


@dataclass(frozen=True)
class Outputs:
    """Files that the stage writes."""

    triton: Path


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Write the repository whole, or not at all.

    Raises Refusal if the verdict refused, or if it is about a different candidate.
    """
    _demand_acceptance(inputs)
    choice = answer_engine.choose(config.generation)
    print(choice.reason, flush=True)
    demand_none(answer_engine.quantisation_problems(choice, config.export))
    parts = _read_parts(inputs, choice.engine)
    digests = _digest_inputs(inputs, parts.receipt)
    with files.replacing(outputs.triton) as target:
        weights = model_repository.write(config.export, config.evaluate, parts, target)
        digests["model"] = files.digest(weights)
        _demand_parity(config, parts, target, inputs.examples)
        parts_list = bill_of_materials.read(inputs.sbom, digests["adapter"])
        files.write_text(target / bill_of_materials.FILE, parts_list)
        digests["repository"] = files.digest(target)
        record = _make_record(config.export.version, digests, parts, inputs)
        model_repository.name(target, config.export.version, record.release_id)
        files.write_json(target / "release.json", record)
        card = model_card.render(_subject(config, inputs, record))
        files.write_text(target / model_card.FILE, card)
        model_repository.check(target)
    models = ", ".join(MODELS)
    version = config.export.version
    print(f"release {record.release_id}: {outputs.triton} holds {models} version {version}")


def _demand_acceptance(inputs: Inputs) -> None:
    verdict = files.read_json(inputs.verdict, Verdict)
    if not verdict.accepted:
        failures = [rule for rule in verdict.rules if not rule.passed]
        Report(passed=False, reason=verdict.reason, checks=failures).demand(
            "the gate",
            "Nothing is exported. Look at data/reports/worst_answers.html; a person may override "
            "a rule in data/overrides.yaml",
        )
    if verdict.candidate != files.digest(inputs.adapter):
        raise Refusal(
            f"refused: {inputs.verdict} is about candidate {verdict.candidate[:12]}, not about "
            f"{inputs.adapter}: run `dvc repro`"
        )


def _read_parts(inputs: Inputs, engine: Engine) -> model_repository.Parts:
    receipt = files.read_json(inputs.index, Receipt)
    facts = json.loads((inputs.examples / "facts.json").read_text(encoding="utf-8"))
    return model_repository.Parts(
        base=inputs.base,
        adapter=inputs.adapter,
        encoder=locate_encoder(receipt.encoder.model, receipt.encoder.revision),
        receipt=receipt,
        prompt=prompts.load(inputs.adapter / prompts.FILE),
        refusals=facts["refusals"],
        engine=engine,
        limits=calibrating.limits_of(files.read_json(inputs.calibration, Calibration)),
        guard=files.read_json(inputs.guard, Guard),
    )


def _digest_inputs(inputs: Inputs, receipt: Receipt) -> dict[str, str]:
    """Digests by the names of their fields in the record."""
    return {
        "documents": files.digest(inputs.documents),
        "chunks": files.digest(inputs.chunks),
        "index": receipt.digest,
        "prompt_digest": files.digest(inputs.adapter / prompts.FILE),
        "base": files.digest(inputs.base),
        "adapter": files.digest(inputs.adapter),
        "scores": files.digest(inputs.scores),
        "verdict": files.digest(inputs.verdict),
    }


def _demand_parity(
    config: Config, parts: model_repository.Parts, target: Path, examples: Path
) -> None:
    """Raises Refusal if what is exported differs too much from transformers.

    That is a quantised model, or engine openvino. How much may differ is in export.parity.
    """
    export = config.export
    folder = target / GENERATOR / str(export.version)
    if export.quantisation != "none":
        subject = str(export.quantisation)
        remedy = "Set export.quantisation to none or int8, or export.parity to what you can accept"
        questions = _held_out_questions(examples)
        report = parity.measure_quantisation(export, config.evaluate, folder, questions)
    elif export.backend == "python" and parts.engine == "openvino":
        subject = "openvino"
        remedy = (
            "Set generation.engine to transformers, or export.parity to what you can accept "
            "(evaluate.precision: weights computes in bf16, whose answers differ more)"
        )
        questions = _held_out_questions(examples)
        candidate = parity.Candidate(parts.base, parts.adapter)
        report = parity.measure_engine(
            export, config.evaluate, folder / "weights", candidate, questions
        )
    else:
        return
    report.demand(f"the parity of {subject} with transformers", remedy)
    same_tokens = report.check(CheckCode.SAME_TOKENS).observed
    same_answers = report.check(CheckCode.SAME_ANSWERS).observed
    print(
        f"parity of {subject} with transformers: {same_tokens} of the tokens and {same_answers} "
        "of the answers are the same"
    )


def _held_out_questions(examples: Path) -> list[ModelInput]:
    from datasets import load_from_disk

    return list(load_from_disk(str(examples))["validation"]["prompt"])


def _make_record(
    version: int, digests: dict[str, str], parts: model_repository.Parts, inputs: Inputs
) -> ReleaseRecord:
    exact_match = files.read_json(inputs.scores, Scores).values(CANDIDATE).get("exact_match")
    if exact_match is None:
        raise UserError(
            "data/reports/scores.json: systems: candidate: exact_match: is missing, and a release "
            "records it (an override cannot stand in for it): `dvc repro evaluate` measures it"
        )
    return ReleaseRecord(
        release_id=_release_id(digests),
        version=version,
        num_documents=files.count(inputs.documents),
        collection=parts.receipt.collection,
        encoder=parts.receipt.encoder.model,
        prompt=parts.prompt.name,
        exact_match=exact_match,
        code_commit=_code_commit(),
        code_modified=_is_code_modified(),
        **digests,
    )


def _subject(config: Config, inputs: Inputs, record: ReleaseRecord) -> model_card.Subject:
    """All that the model card says, from what other stages have written."""
    return model_card.Subject(
        record=record,
        base=files.read_json(inputs.base / "receipt.json", BaseReceipt),
        encoder=files.read_json(inputs.index, Receipt).encoder,
        sources=_count_sources(inputs.documents),
        redaction=files.read_json(inputs.redaction, Redaction),
        training=_describe_training(config.finetune, inputs.examples),
        scores=files.read_json(inputs.scores, Scores),
        verdict=files.read_json(inputs.verdict, Verdict),
    )


def _count_sources(documents: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for batch in files.batches(documents, DOCUMENTS, columns=["source"]):
        counts.update(batch.column("source").to_pylist())
    return counts


def _describe_training(config: FinetuneConfig, examples: Path) -> model_card.Training:
    from datasets import load_from_disk

    splits = load_from_disk(str(examples))
    settings = config.model_dump(mode="json", exclude={"hostfile"})  # a file of one machine
    return model_card.Training(
        num_examples=len(splits["train"]),
        num_validation_examples=len(splits["validation"]),
        digest=files.digest(examples),
        settings=settings,
    )


def _release_id(digests: dict[str, str]) -> str:
    lines = [f"{name}={digest}" for name, digest in sorted(digests.items())]
    return "r-" + files.text_digest("/".join(lines))[:12]


def _code_commit() -> str:
    head = git.call("rev-parse", "HEAD")
    if head.returncode:
        raise UserError(
            "the commit of the code is unknown, so no release can be made: "
            f"{head.stderr.strip()}. Work in a Git clone with at least one commit"
        )
    return head.stdout.strip()


def _is_code_modified() -> bool:
    """Whether tracked code or hand-written inputs differ from the commit."""
    status = git.call("status", "--porcelain", "--untracked-files=no", "--", *CODE_PATHS)
    return bool(status.stdout.strip())
