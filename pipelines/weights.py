"""Knows what a proper set of trained weights is: present, finite, not zero, and of effect."""

from pathlib import Path
from typing import Any

from pipelines.contracts.report import Check

CHECKED = 20  # prompts on which base and tuned model must differ


def checks(folder: Path) -> list[Check]:
    """Checks of the safetensors files in `folder`: some are there, every value is finite, none of LoRA's second matrices is all zero."""
    from safetensors import SafetensorError, safe_open

    names, bad, zero = 0, [], []
    try:
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(str(file), framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (no mapping)
                    tensor = opened.get_tensor(name)
                    names += 1
                    if not bool(tensor.isfinite().all()):
                        bad.append(name)
                    if tensor.numel() == 0 or not bool(tensor.any()):
                        zero.append(name)
    except SafetensorError as error:
        return [Check(name="adapter can be read", passed=False, observed=str(error), expected="whole safetensors files")]
    return [
        Check(name="adapter has tensors", passed=names > 0, observed=f"{names} tensors", expected="at least 1"),
        Check(name="adapter is finite", passed=names > 0 and not bad, observed=f"{len(bad)} tensors with NaN or infinity", expected="0", examples=bad[:3]),
        # LoRA starts its second matrices at zero: one that stayed there was not trained, or was not gathered from its shards.
        Check(name="adapter is not zero", passed=names > 0 and not zero, observed=f"{len(zero)} all-zero tensors", expected="0", examples=zero[:3]),
    ]


def effect(base: Any, tuned: Any, prompts: list[str]) -> Check:
    """Whether the tuned model's next-token distribution differs from the base model's (both are `generation.Generator`s)."""
    differing = sum(not _same_logits(base, tuned, prompt) for prompt in prompts[:CHECKED])
    shown = min(CHECKED, len(prompts))
    return Check(name="adapter changes the outputs", passed=differing > 0, observed=f"{differing} of {shown} prompts", expected="at least 1")


def _same_logits(base: Any, tuned: Any, prompt: str) -> bool:
    import torch

    inputs = base.tokenizer(prompt, return_tensors="pt").to(base.model.device)
    with torch.inference_mode():
        rows = [generator.model(input_ids=inputs["input_ids"]).logits[0, -1].float() for generator in (base, tuned)]
    return bool(torch.allclose(rows[0], rows[1], atol=1e-4))
