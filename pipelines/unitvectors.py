"""Knows how a loaded encoder turns texts into unit vectors, to the bit the same whatever texts stand beside them.

The export copies this file into the Triton model, so that questions are encoded in serving as in evaluation: it imports nothing of ours.
"""

from typing import Any

WIDTH_STEP = 16  # tokens; a text is padded to the next multiple, whatever stands beside it, since its bf16 vector depends on that width


def width(num_tokens: int) -> int:
    """Tokens to which a text of so many is padded."""
    return -(-num_tokens // WIDTH_STEP) * WIDTH_STEP


def of(model: Any, texts: list[str], precision: str) -> Any:
    """Unit vectors, shape (texts, dimensions), float32, of texts that have one `width`. `precision`: bf16 (see `halve`) or fp32."""
    import torch

    _, made = outputs(model, texts, precision)
    return torch.nn.functional.normalize(made["sentence_embedding"].float(), dim=1).cpu().numpy()


def outputs(model: Any, texts: list[str], precision: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the model's inputs, all that it makes of them) for texts that have one `width`."""
    import torch

    features = {key: _padded(model, key, value).to(model.device) for key, value in model.preprocess(texts).items() if hasattr(value, "to")}
    with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return features, model(dict(features))


def halve(model: Any) -> None:
    """Keep the weights of matrix products in bf16, to which autocast would convert them for every batch; sums and norms stay in fp32."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(torch.bfloat16)


def _padded(model: Any, key: str, value: Any) -> Any:
    """One of the model's inputs, shape (texts, tokens), filled up to the next multiple of WIDTH_STEP."""
    import torch

    missing = width(value.shape[1]) - value.shape[1]
    return torch.nn.functional.pad(value, (0, missing), value=int(model.tokenizer.pad_token_id or 0) if key == "input_ids" else 0)
