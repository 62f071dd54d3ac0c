"""Batches of shared rows as the worker makes them, and the time to read or train on them."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
NUM_ROUNDS = int(os.environ.get("ROUNDS", "2"))
Batch = dict[str, Any]


def number_format() -> torch.dtype:
    return torch.bfloat16 if computes_in_bf16() else torch.float32


def load_batches(added_dtype: torch.dtype | None) -> list[Batch]:
    """The first examples of this checkout; `added_dtype` as the Collator takes it."""
    from datasets import load_from_disk

    for path in (BASE, EXAMPLES):
        if not path.exists():
            pytest.skip(f"{path} is absent: run `dvc repro examples` first")
    config = params.load().section(FinetuneConfig)
    tokenizer = generation.tokenizer_of(BASE)
    rows = load_from_disk(str(EXAMPLES))["train"].to_list()
    rows.sort(key=lambda row: list(row["passages"]))  # so that several share a passage
    examples = [worker.encode(tokenizer, row, config.max_tokens) for row in rows[:NUM_EXAMPLES]]
    joined = shared_prompts.join(examples)
    collate = shared_prompts.Collator(tokenizer.pad_token_id or 0, added_dtype)
    batches: list[Batch] = []
    for start in range(0, len(joined), NUM_ROWS):
        batches.append(collate(joined[start : start + NUM_ROWS]))
    return batches


def count_tokens(batches: list[Batch]) -> int:
    return sum(int(batch["input_ids"].numel()) for batch in batches)


def read(model: Any, batches: list[Batch]) -> None:
    """As for the first token of an answer: logits of the last position alone."""
    with torch.inference_mode():
        for batch in batches:
            model(**_inputs(batch), logits_to_keep=1)


def train(model: Any, batches: list[Batch]) -> None:
    """Forwards and backwards, with the answers' loss; the optimizer takes next to nothing."""
    for batch in batches:
        labels = batch["labels"]
        first = int((labels != IGNORE_LABEL).any(dim=0).nonzero()[0]) - 1
        positions = torch.arange(first, labels.shape[1])
        logits = model(**_inputs(batch), logits_to_keep=positions).logits[:, :-1].float()
        targets = labels[:, first + 1 :].reshape(-1)
        flat = logits.reshape(-1, logits.shape[-1])
        loss = torch.nn.functional.cross_entropy(flat, targets, ignore_index=IGNORE_LABEL)
        loss.backward()
        model.zero_grad()


def _inputs(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if name != "labels"}


def seconds_of(
    action: Callable[[Any, list[Batch]], None], model: Any, batches: list[Batch]
) -> float:
    start = time.monotonic()
    action(model, batches)
    return time.monotonic() - start
