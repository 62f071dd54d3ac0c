"""How fast shared rows train with plain attention, against PyTorch's fused function.

    python -m pytest tests/bench/test_shared_attention.py -s -o norecursedirs=   (after `make run`)

The base model of this checkout with its LoRA settings, on the same rows, by turns; the fastest of
ROUNDS (2) counts, after one that does not. bf16 if the hardware computes in it. Nothing else
should run.
"""

from typing import Any

from transformers import AutoModelForCausalLM

from pipelines.config import params
from pipelines.config.finetune import FinetuneConfig
from pipelines.training import worker
from tests.bench import shared_rows
from tests.bench.shared_rows import BASE, NUM_ROUNDS

KINDS = ("eager", "sdpa")


def test_plain_attention_trains_shared_rows_faster_than_the_fused_one() -> None:
    batches = {
        "eager": shared_rows.load_batches(shared_rows.number_format()),
        "sdpa": shared_rows.load_batches(None),
    }
    num_tokens = shared_rows.count_tokens(batches["sdpa"])
    models = {kind: load(kind) for kind in KINDS}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(NUM_ROUNDS + 1):
        for kind in KINDS:
            duration = shared_rows.seconds_of(shared_rows.train, models[kind], batches[kind])
            seconds[kind].append(duration)
    plain = num_tokens / min(seconds["eager"][1:])
    fused = num_tokens / min(seconds["sdpa"][1:])
    ratio = plain / fused
    print(
        f"\n{num_tokens} tokens: plain {plain:.0f}, fused {fused:.0f} a second, {ratio:.2f} times"
    )
    assert ratio > 1


def load(kind: str) -> Any:
    model = AutoModelForCausalLM.from_pretrained(
        str(BASE),
        dtype=shared_rows.number_format(),
        local_files_only=True,
        attn_implementation=kind,
    )
    model.config.use_cache = False
    return worker._with_lora(model, params.load().section(FinetuneConfig))
