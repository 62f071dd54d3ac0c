"""Batches by length: every example once an epoch, little padding, the same order for the same seed and epoch."""

import random
from itertools import pairwise
from pathlib import Path

import torch
from transformers import TrainingArguments

from pipelines.finetuning.batches import ByLength, TrainerByLength

LENGTHS = random.Random(7).choices(range(20, 81), k=1003)


def batches(epoch: int, seed: int = 7) -> list[list[int]]:
    order = ByLength(LENGTHS, 16, seed)
    order.set_epoch(epoch)
    places = list(order)
    return [places[start : start + 16] for start in range(0, len(places), 16)]


def test_every_example_is_in_one_batch_and_the_last_is_the_one_that_is_not_full() -> None:
    found = batches(0)

    assert sorted(place for batch in found for place in batch) == list(range(1003))
    assert [len(batch) for batch in found] == [16] * 62 + [11]


def test_filling_up_to_the_longest_costs_little() -> None:
    padded = sum(len(batch) * max(LENGTHS[place] for place in batch) for batch in batches(0))

    assert padded < 1.1 * sum(LENGTHS)


def test_long_batches_do_not_come_before_short_ones() -> None:
    longest = [max(LENGTHS[place] for place in batch) for batch in batches(0)]

    assert 20 < sum(left > right for left, right in pairwise(longest)) < 42  # of 62


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert batches(1) == batches(1)
    assert batches(1) != batches(0)
    assert batches(1) != batches(1, seed=8)


def test_the_trainer_takes_them(tmp_path: Path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), data_seed=7, per_device_train_batch_size=16, use_cpu=True, report_to=[], remove_unused_columns=False)
    rows = [{"input_ids": [0] * length} for length in LENGTHS]
    trainer = TrainerByLength(model=torch.nn.Linear(1, 1), args=arguments, train_dataset=rows, data_collator=lambda some: {"lengths": torch.tensor([len(row["input_ids"]) for row in some])})

    found = [batch["lengths"].tolist() for batch in trainer.get_train_dataloader()]

    assert found == [[LENGTHS[place] for place in batch] for batch in batches(0)]
