"""Checks of trained weights: present, finite, not zero, and with an effect on the outputs."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.contracts.report import Check
from pipelines.runtime.rendering import ModelInput

MAX_PROMPTS = 20  # on which base and candidate model are compared
READABLE = "adapter can be read"
PRESENT = "adapter has tensors"
FINITE = "adapter is finite"
NON_ZERO = "adapter is not zero"
CHECK_NAMES = (READABLE, PRESENT, FINITE, NON_ZERO)  # of `checks`
BY_PRODUCTS = ("training_args.bin", "README.md")  # files that nobody reads


def checks(folder: Path) -> list[Check]:
    """Checks of the safetensors files in `folder`.

    There are tensors, every value is finite, and none of LoRA's second matrices is all zero.
    """
    from safetensors import SafetensorError

    num_tensors = 0
    non_finite = []
    zero = []
    try:
        for name, tensor in _tensors(folder):
            num_tensors += 1
            if not bool(tensor.isfinite().all()):
                non_finite.append(name)
            if tensor.numel() == 0 or not bool(tensor.any()):
                zero.append(name)
    except SafetensorError as error:
        return [_unreadable(error)]
    has_tensors = num_tensors > 0
    presence = Check(
        name=PRESENT,
        passed=has_tensors,
        observed=f"{num_tensors} tensors",
        expected="at least 1",
    )
    finiteness = Check(
        name=FINITE,
        passed=has_tensors and not non_finite,
        observed=f"{len(non_finite)} tensors with NaN or infinity",
        expected="0",
        examples=non_finite[:3],
    )
    # LoRA starts its second matrices at zero: one that is still zero was not trained, or was not
    # gathered from its shards.
    non_zero = Check(
        name=NON_ZERO,
        passed=has_tensors and not zero,
        observed=f"{len(zero)} all-zero tensors",
        expected="0",
        examples=zero[:3],
    )
    return [presence, finiteness, non_zero]


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Names and tensors of all files, one tensor in memory at a time."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                yield name, file.get_tensor(name)


def _unreadable(error: Exception) -> Check:
    return Check(
        name=READABLE,
        passed=False,
        observed=str(error),
        expected="whole safetensors files",
    )


def effect(base: Any, candidate: Any, prompts: Sequence[ModelInput]) -> Check:
    """Whether the next-token distributions of two `TransformersGenerator`s differ on any prompt."""
    num_prompts = min(len(prompts), MAX_PROMPTS)
    num_differing = 0
    for prompt in prompts[:num_prompts]:
        if not _same_logits(base, candidate, prompt):
            num_differing += 1
    return Check(
        name="adapter changes the outputs",
        passed=num_differing > 0,
        observed=f"{num_differing} of {num_prompts} prompts",
        expected="at least 1",
    )


def _same_logits(base: Any, candidate: Any, prompt: ModelInput) -> bool:
    import torch

    row = base.row(prompt, max_new_tokens=1)
    tokens = torch.tensor([row.prompt], device=base.model.device)
    with torch.inference_mode():
        base_logits = base.model(input_ids=tokens).logits[0, -1].float()
        candidate_logits = candidate.model(input_ids=tokens).logits[0, -1].float()
    return bool(torch.allclose(base_logits, candidate_logits, atol=1e-4))


def tidy(folder: Path, base: Path) -> None:
    """Make a folder of weights the same for the same training.

    PEFT writes an absolute path into adapter_config.json, and lists in the order of a set.
    """
    for name in BY_PRODUCTS:
        (folder / name).unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    if path.exists():
        config = json.loads(path.read_text())
        for key, value in config.items():
            if isinstance(value, list):
                config[key] = sorted(value)
        files.write_json(path, config | {"base_model_name_or_path": base.as_posix()})
