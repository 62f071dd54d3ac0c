"""Measures a quantised export against the same export unquantised, in the environment and by the files that will serve it."""

import json
import subprocess
from pathlib import Path

from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig
from pipelines.contracts.report import Check, Report
from pipelines.errors import UserError
from pipelines.quantisation import Parity
from pipelines.serving.server import ENVIRONMENT


def measure(config: ExportConfig, evaluate: EvaluateConfig, generator: Path, prompts: list[str]) -> Report:
    """Every bound with what was seen. `generator`: the exported version folder. Raises UserError where nothing could be measured."""
    shown = prompts[:: max(1, len(prompts) // config.parity.num_prompts)][: config.parity.num_prompts]
    asked = {"kind": config.quantisation, "precision": evaluate.precision, "prompts": shown, "max_new_tokens": config.max_new_tokens, "batch_size": config.max_batch_size}
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        raise UserError(f"export.quantisation: {config.quantisation} is measured in Triton's environment, and there is none in {ENVIRONMENT}: `make setup` makes it (Linux), or set none")
    done = subprocess.run([str(python), "-B", "quantisation.py"], input=json.dumps(asked), cwd=generator, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"export.quantisation: {config.quantisation} does not work with this model: {done.stderr.strip().splitlines()[-1]}\nSet none or another one in params.yaml")
    found = Parity(**json.loads(done.stdout.splitlines()[-1]))
    return Report.of([
        Check(name="held-out questions were asked", passed=found.num_prompts >= min(config.parity.num_prompts, max(1, len(prompts))), observed=str(found.num_prompts), expected=f"{config.parity.num_prompts}"),
        Check(name="tokens equal the unquantised model's", passed=found.same_tokens >= config.parity.min_same_tokens, observed=f"{found.same_tokens:.1%}", expected=f"at least {config.parity.min_same_tokens:.1%}"),
        Check(name="answers equal the unquantised model's", passed=found.same_answers >= config.parity.min_same_answers, observed=f"{found.same_answers:.1%}", expected=f"at least {config.parity.min_same_answers:.1%}", examples=found.examples),
    ])  # fmt: skip
