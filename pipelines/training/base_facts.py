"""What a base model's folder says about itself: the facts of its receipt."""

import math
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.contracts.base_receipt import BaseReceipt
from pipelines.errors import UserError
from pipelines.training.base_fitness import ADVICE, model_class
from pipelines.training.base_sources import Origin

RECEIPT = "receipt.json"


def write_receipt(folder: Path, origin: Origin) -> BaseReceipt:
    """Write and return the receipt of the model in `folder`.

    Raises UserError if its weights are not whole, or if its tokenizer does not fit it.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    tokenizer = _tokenizer(folder, origin)
    num_parameters = _num_parameters(config)
    _demand_weights(folder, num_parameters, origin)
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"base model {origin.source}: its tokenizer has {len(tokenizer)} tokens, the model "
            f"only {config.vocab_size}: they do not belong together; {ADVICE}"
        )
    receipt = BaseReceipt(
        source=origin.source,
        revision=origin.revision,
        licence=origin.licence,
        architecture=model_class(config).__name__,
        num_parameters=num_parameters,
        vocabulary_size=len(tokenizer),
        max_positions=getattr(config, "max_position_embeddings", None),
        has_chat_template=tokenizer.chat_template is not None,
        end_tokens=_end_tokens(folder, tokenizer),
    )
    if not receipt.end_tokens:
        raise UserError(
            f"base model {origin.source}: neither its tokenizer nor generation_config.json names "
            f"an end token, so no answer would end; {ADVICE}"
        )
    files.write_json(folder / RECEIPT, receipt)
    return receipt


def _tokenizer(folder: Path, origin: Origin) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    # A tokenizer's files are read by several libraries with errors of their own.
    except Exception as error:
        raise UserError(
            f"base model {origin.source}: its tokenizer cannot be loaded ({error}); {ADVICE}"
        ) from error


def _num_parameters(config: Any) -> int:
    """Counted on a model without memory; tied weights count once."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return int(model.num_parameters())


def _demand_weights(folder: Path, num_parameters: int, origin: Origin) -> None:
    """Raises UserError if the files hold fewer numbers than the model has.

    transformers would fill the missing ones with random numbers.
    """
    from safetensors import SafetensorError, safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(path), framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    total += math.prod(file.get_slice(name).get_shape())
        except SafetensorError as error:
            raise UserError(
                f"base model {origin.source}: {path.name} is damaged ({error}): fetch it again"
            ) from error
    if total < num_parameters:
        raise UserError(
            f"base model {origin.source}: its files hold {total:,} of {num_parameters:,} "
            f"parameters: weights are missing; {ADVICE}"
        )


def _end_tokens(folder: Path, tokenizer: Any) -> list[str]:
    """Those of generation_config.json and the tokenizer's own, in the order of their numbers."""
    from transformers import GenerationConfig

    numbers = {tokenizer.eos_token_id}
    if (folder / "generation_config.json").exists():
        ends = GenerationConfig.from_pretrained(str(folder)).eos_token_id
        numbers |= set(ends if isinstance(ends, list) else [ends])
    numbers.discard(None)
    return [str(token) for token in tokenizer.convert_ids_to_tokens(sorted(numbers))]
