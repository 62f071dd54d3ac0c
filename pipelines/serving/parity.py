"""Compares what an export computes with transformers: quantised weights, or engine openvino.

A quantised model is measured in the environment, and with the files, that will serve it: torchao is
there alone. OpenVINO is in both environments, in one version.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig, ParityConfig
from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.errors import UserError
from pipelines.runtime import openvino_engine, quantisation, transformers_engine
from pipelines.runtime.quantisation import Parity
from pipelines.runtime.rendering import ModelInput
from pipelines.serving.triton_installation import ENVIRONMENT

MODULE = "runtime.quantisation"  # in the exported version folder


class Candidate(NamedTuple):
    """The model as transformers loads it."""

    base: Path
    adapter: Path


def measure_engine(
    config: ExportConfig,
    evaluate: EvaluateConfig,
    weights: Path,
    candidate: Candidate,
    prompts: Sequence[ModelInput],
) -> Report:
    """Compare engine openvino (`weights`: its exported folder) with transformers in fp32."""
    num_prompts = config.parity.num_engine_prompts
    batch_size = config.max_batch_size
    parity = quantisation.parity(
        transformers_engine.load(candidate.base, candidate.adapter, "fp32"),
        openvino_engine.load(weights, evaluate.precision, batch_size),
        _sample(prompts, num_prompts),
        config.max_new_tokens,
        batch_size,
    )
    return _judge(parity, config.parity, min(num_prompts, max(1, len(prompts))))


def measure_quantisation(
    config: ExportConfig,
    evaluate: EvaluateConfig,
    generator: Path,
    prompts: Sequence[ModelInput],
) -> Report:
    """Compare quantised weights on held-out prompts. `generator`: the exported version folder.

    Raises UserError if nothing could be measured.
    """
    num_prompts = config.parity.num_prompts
    task = {
        "kind": config.quantisation,
        "precision": evaluate.precision,
        "prompts": _sample(prompts, num_prompts),
        "max_new_tokens": config.max_new_tokens,
        "batch_size": config.max_batch_size,
    }
    parity = _run(task, generator)
    return _judge(parity, config.parity, min(num_prompts, max(1, len(prompts))))


def _sample(prompts: Sequence[ModelInput], num_prompts: int) -> list[ModelInput]:
    """So many prompts, evenly spread."""
    step = max(1, len(prompts) // num_prompts)
    return list(prompts[::step][:num_prompts])


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
                expected=str(min_prompts),
            ),
            Check(
                code=CheckCode.SAME_TOKENS,
                name="tokens equal those of transformers, unquantised",
                passed=parity.same_tokens >= config.min_same_tokens,
                observed=f"{parity.same_tokens:.1%}",
                expected=f"at least {config.min_same_tokens:.1%}",
            ),
            Check(
                code=CheckCode.SAME_ANSWERS,
                name="answers equal those of transformers, unquantised",
                passed=parity.same_answers >= config.min_same_answers,
                observed=f"{parity.same_answers:.1%}",
                expected=f"at least {config.min_same_answers:.1%}",
                examples=parity.examples,
            ),
        ]
    )
