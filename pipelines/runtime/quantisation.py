"""Stores the weights of matrix products in fewer bits, and measures what such a change changes.

Weights become int8, or int4 with a scale for each GROUP inputs; the products are computed in the
model's own precision. The model repository keeps the whole weights, and the model in Triton
quantises them while it loads. torchao is in Triton's environment alone, so parity is measured
there, on the exported folder: `python -m runtime.quantisation` beside runtime/ and weights/.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from . import transformers_engine
from .generation import Generator, Row
from .rendering import ModelInput
from .transformers_engine import TransformersGenerator

GROUP = 32  # inputs of a layer that share an int4 scale
MAX_EXAMPLES = 3


class Parity(NamedTuple):
    """Shares of equal tokens and answers, and examples of answers that differ."""

    num_prompts: int
    same_tokens: float
    same_answers: float
    examples: list[str]


def quantise(model: Any, kind: str) -> None:
    """Quantise a model in place. `kind`: int8 or int4.

    Raises ValueError if a layer does not fit int4's groups.
    """
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, quantize_

    if kind == "int8":
        quantize_(model, Int8WeightOnlyConfig())
        return
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module.in_features % GROUP:
            raise ValueError(
                f"int4 needs layers whose number of inputs is a multiple of {GROUP}; "
                f"{name} has {module.in_features}"
            )
    quantize_(model, IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(GROUP)))


def parity(
    exact: TransformersGenerator,
    approximate: Generator,
    prompts: Sequence[ModelInput],
    max_new_tokens: int,
    batch_size: int,
) -> Parity:
    """Compare a model with the same one in fewer bits or in a different engine (`approximate`).

    Whole greedy answers are compared, and each of the approximate model's tokens with the one that
    the exact model would have written after those before it.
    """
    exact_rows = exact.generate_rows(prompts, max_new_tokens, batch_size)
    approximate_rows = approximate.generate_rows(prompts, max_new_tokens, batch_size)
    differences: list[str] = []
    for prompt, row, approximate_row in zip(prompts, exact_rows, approximate_rows, strict=True):
        text = exact.read(row).text
        approximate_text = approximate.read(approximate_row).text
        if approximate_text != text:
            differences.append(f"{prompt!r}: {approximate_text!r} instead of {text!r}")
    num_tokens = sum(len(row.tokens) for row in approximate_rows)
    num_same_tokens = sum(_count_same_tokens(exact, row) for row in approximate_rows)
    return Parity(
        num_prompts=len(prompts),
        same_tokens=num_same_tokens / max(1, num_tokens),
        same_answers=1 - len(differences) / max(1, len(prompts)),
        examples=differences[:MAX_EXAMPLES],
    )


def _count_same_tokens(exact: TransformersGenerator, row: Row) -> int:
    """How many of a row's tokens the exact model would have written after those before."""
    predictions = _predict(exact, [*row.prompt, *row.tokens[:-1]])
    pairs = zip(row.tokens, predictions[len(row.prompt) - 1 :], strict=True)
    return sum(token == prediction for token, prediction in pairs)


def _predict(generator: TransformersGenerator, tokens: list[int]) -> list[int]:
    """The most likely next token after each prefix of `tokens`."""
    import torch

    inputs = torch.tensor([tokens], device=generator.model.device)
    with torch.inference_mode():
        logits = generator.model(input_ids=inputs).logits[0]
    predictions: list[int] = logits.argmax(-1).tolist()
    return predictions


def main() -> None:
    """Read a task as JSON from standard input and print a Parity as JSON on the last line.

    The task: kind, precision, prompts, max_new_tokens, batch_size.
    """
    task = json.load(sys.stdin)
    weights = Path("weights")
    exact = transformers_engine.load(weights, None, task["precision"])
    change = partial(quantise, kind=task["kind"])
    approximate = transformers_engine.load(weights, None, task["precision"], change)
    measurement = parity(
        exact, approximate, task["prompts"], task["max_new_tokens"], task["batch_size"]
    )
    print(json.dumps(measurement._asdict()))


if __name__ == "__main__":
    main()
