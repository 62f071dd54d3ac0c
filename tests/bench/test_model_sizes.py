"""What the next larger models cost: reading and LoRA training against the default's size.

    python -m pytest tests/bench/test_model_sizes.py -s -o norecursedirs=   (after `make run`)

Weights are random, in the shapes of SmolLM2's three sizes, since only the time is measured: it does
not depend on their values. The tokenizer and the examples are those of this checkout. Each size
reads and trains on the same rows by turns (SIZE_ROUNDS, 2); the faster turn counts. bf16 if the
hardware computes in it. Nothing else should run.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from pipelines.config import params
from pipelines.config.finetune import FinetuneConfig
from pipelines.runtime import generation
from pipelines.system.hardware import computes_in_bf16
from pipelines.training import shared_prompts, worker
from pipelines.training.batches import IGNORE_LABEL

BASE = Path("models/base")
EXAMPLES = Path("data/examples")
NUM_EXAMPLES = 24
NUM_ROWS = 4  # in a batch, as by default
NUM_ROUNDS = int(os.environ.get("SIZE_ROUNDS", "2"))


class Shape(NamedTuple):
    """Of a Llama: SmolLM2's published configurations."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int


SHAPES = {
    "135M": Shape(576, 1536, 30, 9, 3),
    "360M": Shape(960, 2560, 32, 15, 5),
    "1.7B": Shape(2048, 8192, 24, 32, 32),
}


def test_larger_models_cost_about_as_much_more_as_they_have_weights() -> None:
    if not (BASE.exists() and EXAMPLES.exists()):
        pytest.skip(f"{BASE} or {EXAMPLES} is absent: run `dvc repro examples` first")
    config = params.load().section(FinetuneConfig)
    batches = load_batches(config)
    num_tokens = sum(int(batch["input_ids"].numel()) for batch in batches)
    rates: dict[str, tuple[float, float]] = {}
    for name, shape in SHAPES.items():
        reading, training = measure(shape, config, batches)
        rates[name] = (num_tokens / reading, num_tokens / training)
    print(f"\n{num_tokens} tokens in {len(batches)} batches")
    print(
        f"{'size':6} {'reading, tokens/s':>18} {'ratio':>6} {'training, tokens/s':>19} {'ratio':>6}"
    )
    smallest = rates["135M"]
    for name, (reading, training) in rates.items():
        read_ratio = smallest[0] / reading
        train_ratio = smallest[1] / training
        print(f"{name:6} {reading:18.0f} {read_ratio:6.1f} {training:19.0f} {train_ratio:6.1f}")
    for rate in rates["360M"]:
        assert rate < min(smallest)


def load_batches(config: FinetuneConfig) -> list[dict[str, Any]]:
    """Batches of shared rows, as the worker makes them."""
    from datasets import load_from_disk

    tokenizer = generation.tokenizer_of(BASE)
    rows = load_from_disk(str(EXAMPLES))["train"].select(range(NUM_EXAMPLES))
    examples = [worker.encode(tokenizer, row, config.max_tokens) for row in rows]
    joined = shared_prompts.join(examples)
    collate = shared_prompts.Collator(tokenizer.pad_token_id or 0, added_dtype=number_format())
    batches: list[dict[str, Any]] = []
    for start in range(0, len(joined), NUM_ROWS):
        batches.append(collate(joined[start : start + NUM_ROWS]))
    return batches


def number_format() -> torch.dtype:
    return torch.bfloat16 if computes_in_bf16() else torch.float32


def measure(
    shape: Shape, config: FinetuneConfig, batches: list[dict[str, Any]]
) -> tuple[float, float]:
    """Seconds to read all batches, and to train on them."""
    model = random_model(shape)
    reading = fastest(lambda: read(model, batches))
    first_layer = round(shape.num_hidden_layers * config.first_layer / 30)
    tuned = worker._with_lora(model, config.model_copy(update={"first_layer": first_layer}))
    training = fastest(lambda: train(tuned, batches))
    return reading, training


def random_model(shape: Shape) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary_size = len(generation.tokenizer_of(BASE))
    configuration = LlamaConfig(
        vocab_size=vocabulary_size,
        tie_word_embeddings=True,
        attn_implementation="eager",
        use_cache=False,
        **shape._asdict(),
    )
    torch.manual_seed(7)
    return LlamaForCausalLM(configuration).to(number_format())


def fastest(action: Callable[[], None]) -> float:
    action()  # the first time libraries prepare themselves
    durations: list[float] = []
    for _ in range(NUM_ROUNDS):
        start = time.monotonic()
        action()
        durations.append(time.monotonic() - start)
    return min(durations)


def read(model: Any, batches: list[dict[str, Any]]) -> None:
    """As for the first token of an answer: logits of the last position alone."""
    with torch.inference_mode():
        for batch in batches:
            model(**inputs_of(batch), logits_to_keep=1)


def train(model: Any, batches: list[dict[str, Any]]) -> None:
    """Forwards and backwards, with the answers' loss; the optimizer takes next to nothing."""
    for batch in batches:
        labels = batch["labels"]
        first = int((labels != IGNORE_LABEL).any(dim=0).nonzero()[0]) - 1
        positions = torch.arange(first, labels.shape[1])
        logits = model(**inputs_of(batch), logits_to_keep=positions).logits[:, :-1].float()
        targets = labels[:, first + 1 :].reshape(-1)
        flat = logits.reshape(-1, logits.shape[-1])
        loss = torch.nn.functional.cross_entropy(flat, targets, ignore_index=IGNORE_LABEL)
        loss.backward()
        model.zero_grad()


def inputs_of(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "labels"}
