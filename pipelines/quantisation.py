"""Knows torchao: weights of matrix products in fewer bits, and how near the outputs stay to those of the model as it was.

Weights are stored in int8, or in int4 with a scale for each GROUP inputs; the products are computed in the model's own precision.
The export copies this file into the Triton model, which quantises when it loads: the repository keeps the whole weights. torchao is in
Triton's environment alone, so parity is measured there, on the exported folder: `python quantisation.py` beside generation.py and weights/.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

GROUP = 32  # inputs of a layer that share an int4 scale


class Parity(NamedTuple):
    """Shares of equal tokens and answers, and examples of the others."""

    num_prompts: int
    same_tokens: float
    same_answers: float
    examples: list[str]


def quantise(model: Any, kind: str) -> None:
    """In place. `kind`: int8 or int4. Raises ValueError where a layer does not fit int4's groups."""
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup, quantize_

    if kind == "int8":
        quantize_(model, Int8WeightOnlyConfig())
        return
    odd = [f"{name} has {module.in_features}" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module.in_features % GROUP]
    if odd:
        raise ValueError(f"int4 needs layers whose number of inputs is a multiple of {GROUP}; {odd[0]}")
    quantize_(model, IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(GROUP)))


def parity(exact: Any, quantised: Any, prompts: list[str], max_new_tokens: int, batch_size: int) -> Parity:
    """Compare two `generation.Generator`s: whole greedy answers, and each next token after the exact model's own tokens."""
    rows, others = (generator.written(prompts, max_new_tokens, batch_size) for generator in (exact, quantised))
    texts = [(exact.read(row).text, quantised.read(other).text) for row, other in zip(rows, others, strict=True)]
    changed = [f"{prompt!r}: {other!r} instead of {text!r}" for prompt, (text, other) in zip(prompts, texts, strict=True) if text != other]
    given = [_next(quantised, [*row.prompt, *row.tokens[:-1]])[len(row.prompt) - 1 :] for row in rows]
    same = sum(one == other for row, tokens in zip(rows, given, strict=True) for one, other in zip(row.tokens, tokens, strict=True))
    return Parity(len(prompts), same / max(1, sum(len(row.tokens) for row in rows)), 1 - len(changed) / max(1, len(prompts)), changed[:3])


def _next(generator: Any, tokens: list[int]) -> list[int]:
    """The most likely token after each beginning of `tokens`."""
    import torch

    with torch.inference_mode():
        found: list[int] = generator.model(input_ids=torch.tensor([tokens], device=generator.model.device)).logits[0].argmax(-1).tolist()
    return found


def main() -> None:
    """Settings as JSON on standard input (kind, precision, prompts, max_new_tokens, batch_size), a Parity as JSON on the last line of output."""
    import generation

    asked = json.load(sys.stdin)
    exact, quantised = (generation.load(Path("weights"), None, asked["precision"], change) for change in (None, partial(quantise, kind=asked["kind"])))
    print(json.dumps(parity(exact, quantised, asked["prompts"], asked["max_new_tokens"], asked["batch_size"])._asdict()))


if __name__ == "__main__":
    main()
