"""Compares a quantised export with the same export unquantised.

This runs in the environment, and with the files, that will serve the model.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig, ParityConfig
from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.errors import UserError
from pipelines.runtime.quantisation import Parity
from pipelines.runtime.rendering import ModelInput
from pipelines.serving.triton_installation import ENVIRONMENT

MODULE = "runtime.quantisation"  # in the exported version folder


def measure(
    config: ExportConfig,
    evaluate: EvaluateConfig,
    generator: Path,
    prompts: Sequence[ModelInput],
) -> Report:
    """Compare on held-out prompts. `generator`: the exported version folder.

    Raises UserError if nothing could be measured.
    """
    num_prompts = config.parity.num_prompts
    step = max(1, len(prompts) // num_prompts)
    task = {
        "kind": config.quantisation,
        "precision": evaluate.precision,
        "prompts": list(prompts[::step][:num_prompts]),
        "max_new_tokens": config.max_new_tokens,
        "batch_size": config.max_batch_size,
    }
    parity = _run(task, generator)
    min_prompts = min(num_prompts, max(1, len(prompts)))
    return _judge(parity, config.parity, min_prompts)


def _run(task: dict[str, Any], generator: Path) -> Parity:
    """Let the exported code measure, in Triton's environment."""
    kind = task["kind"]
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        raise UserError(
            f"export.quantisation: {kind} is measured in Triton's environment, and {ENVIRONMENT} "
            "does not exist: create it with `make setup` (Linux), or set none"
        )
    process = subprocess.run(
        [str(python), "-B", "-m", MODULE],
        input=json.dumps(task),
        cwd=generator,
        capture_output=True,
        text=True,
    )
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1]
        raise UserError(
            f"export.quantisation: {kind} does not work with this model: {reason}\n"
            "Set none or a different quantisation in params.yaml"
        )
    return Parity(**json.loads(process.stdout.splitlines()[-1]))


def _judge(parity: Parity, config: ParityConfig, min_prompts: int) -> Report:
    return Report.of(
        [
            Check(
                name="held-out questions were asked",
                passed=parity.num_prompts >= min_prompts,
                observed=str(parity.num_prompts),
                expected=str(config.num_prompts),
            ),
            Check(
                code=CheckCode.SAME_TOKENS,
                name="tokens equal the unquantised model's",
                passed=parity.same_tokens >= config.min_same_tokens,
                observed=f"{parity.same_tokens:.1%}",
                expected=f"at least {config.min_same_tokens:.1%}",
            ),
            Check(
                code=CheckCode.SAME_ANSWERS,
                name="answers equal the unquantised model's",
                passed=parity.same_answers >= config.min_same_answers,
                observed=f"{parity.same_answers:.1%}",
                expected=f"at least {config.min_same_answers:.1%}",
                examples=parity.examples,
            ),
        ]
    )
