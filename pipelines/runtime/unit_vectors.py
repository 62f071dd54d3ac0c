"""Turns texts into unit vectors with a loaded encoder.

A text's vector is the same to the bit whatever texts are encoded beside it, in evaluation as in
serving.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The newest instructions that torch's matrix products may use on a CPU. With AMX they add up in an
# order that depends on the number of texts, so that a vector would depend on its batch.
INSTRUCTIONS = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
# A text is padded to the next multiple of so many tokens, whatever is encoded beside it: its bf16
# vector depends on that width.
WIDTH_STEP = 16


def width(num_tokens: int) -> int:
    """Tokens to which a text of so many tokens is padded."""
    return -(-num_tokens // WIDTH_STEP) * WIDTH_STEP


def fix_instructions() -> None:
    """Let torch compute the same bits whatever the batch. Call it before its first product."""
    for name, value in INSTRUCTIONS.items():
        os.environ.setdefault(name, value)


@contextmanager
def all_instructions() -> Iterator[None]:
    """Let a library that is loaded in this block use every instruction of the CPU.

    OpenVINO has a oneDNN of its own, which reads the same variables when its plugin is loaded.
    """
    limits = {name: value for name, value in INSTRUCTIONS.items() if os.environ.get(name) == value}
    for name in limits:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(limits)


def of(model: Any, texts: list[str], precision: str) -> Any:
    """Unit vectors of texts that share one `width`: float32, shape (texts, dimensions).

    `precision` is bf16 (see `halve`) or fp32.
    """
    import torch

    _, features = outputs(model, texts, precision)
    embeddings = features["sentence_embedding"].float()
    return torch.nn.functional.normalize(embeddings, dim=1).cpu().numpy()


def words(model: Any, texts: list[str], precision: str) -> list[Any]:
    """The unit vectors of each text's tokens in their context: float32, shape (tokens, dimensions).

    The texts share one `width`. Tokens that the model adds are left out.
    """
    import torch

    inputs, features = outputs(model, texts, precision)
    special = torch.tensor(model.tokenizer.all_special_ids, device=model.device)
    is_word = inputs["attention_mask"].bool() & ~torch.isin(inputs["input_ids"], special)
    unit = torch.nn.functional.normalize(features["token_embeddings"].float(), dim=2)
    return [vectors[mask].cpu().numpy() for vectors, mask in zip(unit, is_word, strict=True)]


def outputs(model: Any, texts: list[str], precision: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's inputs and all its outputs, for texts that share one `width`."""
    import torch

    features = {}
    for key, values in model.preprocess(texts).items():
        if hasattr(values, "to"):
            features[key] = _pad(model, key, values).to(model.device)
    is_half = precision == "bf16"
    with (
        torch.inference_mode(),
        torch.autocast(model.device.type, torch.bfloat16, enabled=is_half),
    ):
        return features, model(dict(features))


def halve(model: Any) -> None:
    """Keep the weights of matrix products in bf16; sums and norms stay in fp32.

    Autocast would otherwise convert these weights for every batch.
    """
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(torch.bfloat16)


def _pad(model: Any, key: str, values: Any) -> Any:
    """One of the model's inputs, shape (texts, tokens), padded to the next WIDTH_STEP."""
    import torch

    num_missing = width(values.shape[1]) - values.shape[1]
    fill = 0
    if key == "input_ids":
        fill = int(model.tokenizer.pad_token_id or 0)
    return torch.nn.functional.pad(values, (0, num_missing), value=fill)
