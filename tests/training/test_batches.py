"""Batches by length: every example once per epoch, little padding, one order per seed and epoch."""

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from pipelines.training.batches import ByLength, TrainerByLength

LENGTHS = random.Random(7).choices(range(20, 81), k=1003)


def batches(epoch: int, seed: int = 7) -> list[list[int]]:
    """Batches of 16 indices."""
    order = ByLength(LENGTHS, 16, seed)
    order.set_epoch(epoch)
    indices = list(order)
    return [indices[start : start + 16] for start in range(0, len(indices), 16)]


def longest(batch: list[int]) -> int:
    return max(LENGTHS[index] for index in batch)


def test_every_example_is_in_one_batch_and_only_the_last_is_not_full() -> None:
    indices = [index for batch in batches(0) for index in batch]
    sizes = [len(batch) for batch in batches(0)]
    assert sorted(indices) == list(range(1003))
    assert sizes == [16] * 62 + [11]


def test_padding_to_the_longest_costs_little() -> None:
    num_tokens = sum(len(batch) * longest(batch) for batch in batches(0))
    assert num_tokens < 1.1 * sum(LENGTHS)


def test_long_batches_do_not_come_before_short_ones() -> None:
    lengths = [longest(batch) for batch in batches(0)]
    num_decreases = sum(before > after for before, after in pairwise(lengths))
    assert 20 < num_decreases < 42  # of 62


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert batches(1) == batches(1)
    assert batches(1) != batches(0)
    assert batches(1) != batches(1, seed=8)


def test_the_trainer_uses_these_batches(tmp_path: Path) -> None:
    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {"lengths": torch.tensor([len(row["input_ids"]) for row in rows])}

    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        data_seed=7,
        per_device_train_batch_size=16,
        use_cpu=True,
        report_to=[],
        remove_unused_columns=False,
    )
    trainer = TrainerByLength(
        model=torch.nn.Linear(1, 1),
        args=arguments,
        train_dataset=[{"input_ids": [0] * length} for length in LENGTHS],
        data_collator=collate,
    )
    lengths = [batch["lengths"].tolist() for batch in trainer.get_train_dataloader()]
    assert lengths == [[LENGTHS[index] for index in batch] for batch in batches(0)]
