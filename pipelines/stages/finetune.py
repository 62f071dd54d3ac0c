"""finetune: base model and examples -> an adapter that is proven to be there, finite, non-zero and of effect."""

import json
from pathlib import Path
from typing import Any

from pipelines import files, generation, prompts, weights
from pipelines.config.finetune import FinetuneConfig
from pipelines.contracts.report import Report
from pipelines.errors import UserError
from pipelines.finetuning import launch


def run(config: FinetuneConfig, base: Path, examples: Path, examples_validation: Path, adapter: Path, training: Path) -> None:
    """Train under DeepSpeed. Raises Refusal where the examples' check did not pass, UserError where the adapter is no good."""
    files.read_json(examples_validation, Report).demand(f"the check of {examples}", "Mend data/faq or data/golden")
    with launch.alone(config, base, examples):
        _tune(config, base, examples, adapter, training)


def _tune(config: FinetuneConfig, base: Path, examples: Path, adapter: Path, training: Path) -> None:
    with files.replacing(adapter) as target:
        target.mkdir()
        history = launch.train(config, base, examples, target)
        _settle(target, base)
        prompts.save(prompts.load(examples / prompts.FILE), target)
        proof = prove(base, examples, target)
        files.write_json(target / "proof.json", proof)
        if not proof.passed:
            raise UserError(f"the trained adapter is no good, so none was kept: {proof.reason}")
        for unwanted in ("training_args.bin", "README.md"):
            (target / unwanted).unlink(missing_ok=True)
    _curves(history, training)
    launch.forget(base, examples, config)
    print(f"adapter: {proof.reason}; last loss {next(row['loss'] for row in reversed(history) if 'loss' in row):.3f}")


def _settle(adapter: Path, base: Path) -> None:
    """Make adapter_config.json the same for the same training: PEFT writes an absolute path and lists in the order of a set."""
    path = adapter / "adapter_config.json"
    if path.exists():
        config = json.loads(path.read_text())
        stable = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}
        files.write_json(path, stable | {"base_model_name_or_path": base.as_posix()})


def prove(base: Path, examples: Path, adapter: Path) -> Report:
    """Look at the saved files, load them back, and compare with the base model on the validation prompts."""
    from datasets import load_from_disk

    found = weights.checks(adapter)
    if all(check.passed for check in found):
        shown = list(load_from_disk(str(examples))["validation"]["prompt"])
        found.append(weights.effect(generation.load(base), generation.load(base, adapter), shown))
    return Report.of(found)


def _curves(history: list[dict[str, Any]], training: Path) -> None:
    """The loss curves for `dvc plots`, by DVCLive, from the whole history: complete after a resumed training too."""
    from dvclive import Live

    with files.replacing(training) as target:
        with Live(str(target), save_dvc_exp=False, dvcyaml=None, cache_images=False) as live:
            for row in history:
                live.step = row["step"]
                for name in ("loss", "eval_loss", "learning_rate", "grad_norm"):
                    if name in row:
                        live.log_metric(name, float(row[name]))
        (target / "metrics.json").unlink()  # the last values again, written at the end; `dvc plots` cannot draw them
