"""What the next larger models cost: reading and LoRA training against the default's size.

    python -m pytest tests/bench/test_model_sizes.py -s -o norecursedirs=   (after `make run`)

Weights are random, in the shapes of SmolLM2's three sizes, since only the time is measured: it does
not depend on their values. The tokenizer and the examples are those of this checkout. Each size
reads and trains on the same rows; the fastest of ROUNDS (2) counts, after one that does not. bf16
if the hardware computes in it. Nothing else should run.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from pipelines.config import params
from pipelines.config.finetune import FinetuneConfig
from pipelines.runtime import generation
from pipelines.training import worker
from tests.bench import shared_rows
from tests.bench.shared_rows import BASE, NUM_ROUNDS, Batch

NUM_LAYERS = 30  # of SmolLM2-135M, for which finetune.first_layer is set


class Shape(NamedTuple):
    """Of a Llama: SmolLM2's published configurations."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int


SHAPES = {
    "135M": Shape(576, 1536, NUM_LAYERS, 9, 3),
    "360M": Shape(960, 2560, 32, 15, 5),
    "1.7B": Shape(2048, 8192, 24, 32, 32),
}


class Rates(NamedTuple):
    """Tokens a second, padding included."""

    reading: float
    training: float


def test_a_larger_model_reads_and_trains_more_slowly() -> None:
    batches = shared_rows.load_batches(shared_rows.number_format())
    num_tokens = shared_rows.count_tokens(batches)
    rates = {name: measure(shape, batches) for name, shape in SHAPES.items()}
    smallest = rates["135M"]
    print(f"\n{num_tokens} tokens in {len(batches)} batches, {shared_rows.number_format()}")
    for name, (reading, training) in rates.items():
        print(
            f"{name}: reads {reading:.0f} tokens/s, 1/{smallest.reading / reading:.1f} of 135M; "
            f"trains on {training:.0f} tokens/s, 1/{smallest.training / training:.1f}"
        )
    assert rates["360M"].reading < smallest.reading
    assert rates["360M"].training < smallest.training


def measure(shape: Shape, batches: list[Batch]) -> Rates:
    num_tokens = shared_rows.count_tokens(batches)
    model = random_model(shape)
    reading = fastest(shared_rows.read, model, batches)
    config = params.load().section(FinetuneConfig)
    first_layer = round(shape.num_hidden_layers * config.first_layer / NUM_LAYERS)
    tuned = worker._with_lora(model, config.model_copy(update={"first_layer": first_layer}))
    training = fastest(shared_rows.train, tuned, batches)
    return Rates(num_tokens / reading, num_tokens / training)


def random_model(shape: Shape) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    configuration = LlamaConfig(
        vocab_size=len(generation.tokenizer_of(BASE)),
        tie_word_embeddings=True,
        attn_implementation="eager",
        use_cache=False,
        **shape._asdict(),
    )
    torch.manual_seed(7)
    return LlamaForCausalLM(configuration).to(shared_rows.number_format())


def fastest(action: Callable[[Any, list[Batch]], None], model: Any, batches: list[Batch]) -> float:
    """Seconds."""
    action(model, batches)  # the first time, libraries prepare themselves
    durations: list[float] = []
    for _ in range(NUM_ROUNDS):
        durations.append(shared_rows.seconds_of(action, model, batches))
    return min(durations)
