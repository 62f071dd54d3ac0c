"""calibrate: validation questions are answered, to learn which answers are to be withheld."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config.answer import AnswerConfig
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.generation import GenerationConfig
from pipelines.contracts.calibration import Calibration
from pipelines.contracts.receipt import Receipt
from pipelines.decision import calibrating
from pipelines.questions import prompts
from pipelines.runtime import comparison
from pipelines.training import answer_cache, answer_engine
from pipelines.training.answer_cache import Recipe
from pipelines.vectorstore import load_encoder, locate_encoder

DOCUMENT_KINDS = ("document", "unanswerable")
MIN_DOCUMENT_QUESTIONS = 40  # of validation, to calibrate on these alone


@dataclass(frozen=True)
class Config:
    """Sections of params.yaml."""

    answer: AnswerConfig
    evaluate: EvaluateConfig
    generation: GenerationConfig


@dataclass(frozen=True)
class Inputs:
    """The candidate, the validation examples, and the encoder that the index names."""

    base: Path
    adapter: Path
    examples: Path
    index: Path


@dataclass(frozen=True)
class Outputs:
    """The limits that evaluate and the release obey."""

    calibration: Path


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Answer the validation questions, and set the limits."""
    template = prompts.load(inputs.adapter / prompts.FILE)
    if template.refusal is None:
        files.write_json(outputs.calibration, calibrating.without_passages())
        print(f"the template {template.name} shows no passages: no answer is withheld")
        return
    rows = telling_rows(_validation_rows(inputs.examples))
    answers = answer_cache.answer(
        _recipe(config, inputs), [row["prompt"] for row in rows], "validation"
    )
    receipt = files.read_json(inputs.index, Receipt)
    folder = locate_encoder(receipt.encoder.model, receipt.encoder.revision)
    encoder = load_encoder(folder, receipt.encoder.engine, receipt.encoder.precision)
    facts = json.loads((inputs.examples / "facts.json").read_text())
    refusals = {comparison.normalize(refusal) for refusal in facts["refusals"]}
    trials = calibrating.try_answers(rows, answers, refusals, encoder)
    num_refused = len(rows) - len(trials)
    calibration = calibrating.calibrate(config.answer, template.refusal, trials, num_refused)
    files.write_json(outputs.calibration, calibration)
    _print(calibration)


def _validation_rows(examples: Path) -> list[dict[str, Any]]:
    from datasets import load_from_disk

    rows: list[dict[str, Any]] = load_from_disk(str(examples))["validation"].to_list()
    return rows


def telling_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The questions about documents, if they are enough.

    A model that knows the FAQ's answers is surer of those than of any other.
    """
    documents = [row for row in rows if row["kind"] in DOCUMENT_KINDS]
    return documents if len(documents) >= MIN_DOCUMENT_QUESTIONS else rows


def _recipe(config: Config, inputs: Inputs) -> Recipe:
    choice = answer_engine.choose(config.generation)
    print(choice.reason, flush=True)
    return Recipe(
        engine=choice.engine,
        base=inputs.base,
        adapter=inputs.adapter,
        precision=config.evaluate.precision,
        max_new_tokens=config.evaluate.max_new_tokens,
        batch_size=config.evaluate.batch_size,
    )


def _print(calibration: Calibration) -> None:
    areas = [f"{name} {area}" for name, area in calibration.signals.items()]
    print(
        f"{calibration.num_right} answered right, {calibration.num_wrong} wrong, "
        f"{calibration.num_refused} refused; withheld below a mean log probability of "
        f"{calibration.min_log_probability} and a support of {calibration.min_support}"
    )
    print(f"area under the ROC curve of right against wrong answers: {', '.join(areas)}")
