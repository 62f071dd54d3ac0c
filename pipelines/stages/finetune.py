"""finetune: base model and examples become an adapter that is finite, non-zero and of effect."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config.finetune import FinetuneConfig
from pipelines.contracts.report import Report
from pipelines.errors import UserError, demand_none
from pipelines.questions import prompts
from pipelines.runtime import generation, transformers_engine
from pipelines.training import launch, lengths, weights
from pipelines.training.job import Job

CURVES = ("loss", "eval_loss", "learning_rate", "grad_norm")


@dataclass(frozen=True)
class Inputs:
    """The model, what it is to learn, and the report about that."""

    base: Path
    examples: Path
    examples_validation: Path


@dataclass(frozen=True)
class Outputs:
    """The trained weights with their template and proof, and the loss curves."""

    adapter: Path
    training: Path


def run(config: FinetuneConfig, inputs: Inputs, outputs: Outputs) -> None:
    """Train under DeepSpeed.

    Raises Refusal if the examples' check did not pass, UserError if one is too long or if the
    adapter fails its proof.
    """
    files.read_json(inputs.examples_validation, Report).demand(
        f"the check of {inputs.examples}",
        "Fix data/faq or data/golden (`python -m pipelines check` names every entry)",
    )
    _require_short_examples(config, inputs)
    job = launch.plan(config, inputs.base, inputs.examples)
    with launch.claim(job):
        _tune(job, inputs, outputs)


def _require_short_examples(config: FinetuneConfig, inputs: Inputs) -> None:
    """Raises UserError before anything is started."""
    from datasets import load_from_disk

    tokenizer = generation.tokenizer_of(inputs.base)
    splits = load_from_disk(str(inputs.examples))
    rows = chain(splits["train"], splits["validation"])
    demand_none(lengths.example_problems(tokenizer, rows, config.max_tokens))


def _tune(job: Job, inputs: Inputs, outputs: Outputs) -> None:
    with files.replacing(outputs.adapter) as target:
        target.mkdir()
        history = launch.train(job, target)
        weights.tidy(target, inputs.base)
        prompts.save(prompts.load(inputs.examples / prompts.FILE), target)
        proof = prove(inputs.base, inputs.examples, target)
        files.write_json(target / "proof.json", proof)
        if not proof.passed:
            raise UserError(f"the adapter failed its proof and was not saved: {proof.reason}")
    _write_curves(history, outputs.training)
    launch.forget(job)
    losses = [row["loss"] for row in history if "loss" in row]
    print(f"adapter: {proof.reason}; last loss {losses[-1]:.3f}")


def prove(base: Path, examples: Path, adapter: Path) -> Report:
    """Check the saved files, load them, and compare with the base model on validation prompts."""
    from datasets import load_from_disk

    checks = weights.checks(adapter)
    if all(check.passed for check in checks):
        validation_prompts = list(load_from_disk(str(examples))["validation"]["prompt"])
        tuned_model = transformers_engine.load(base, adapter)
        checks.append(
            weights.effect(transformers_engine.load(base), tuned_model, validation_prompts)
        )
    return Report.of(checks)


def _write_curves(history: list[dict[str, Any]], folder: Path) -> None:
    """The curves for `dvc plots`, by DVCLive.

    They come from the whole history, so they are complete after a resumed training too.
    """
    from dvclive import Live

    with files.replacing(folder) as target:
        with Live(str(target), save_dvc_exp=False, dvcyaml=None, cache_images=False) as live:
            for row in history:
                live.step = row["step"]
                for name in CURVES:
                    if name in row:
                        live.log_metric(name, float(row[name]))
        # The last values once more, written at the end; `dvc plots` cannot draw them.
        (target / "metrics.json").unlink()
