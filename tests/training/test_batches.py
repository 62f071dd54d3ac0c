"""Batches by length: every example once per epoch, little padding, one order per seed and epoch."""

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from pipelines.training.batches import IGNORE_LABEL, ByLength, TrainerByLength

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


def small_model() -> LlamaForCausalLM:
    torch.manual_seed(7)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            use_cache=False,  # with a cache, packed examples are not told apart
        )
    )


def trainer_of(model: LlamaForCausalLM, folder: Path) -> TrainerByLength:
    arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[])
    return TrainerByLength(model=model, args=arguments)


def padded_batch() -> dict[str, torch.Tensor]:
    """Two examples of 9 and 6 tokens, padded on the left; 3 and 2 tokens are the answers."""
    torch.manual_seed(8)
    tokens = torch.randint(1, 40, (2, 9))
    mask = torch.ones_like(tokens)
    mask[1, :3] = 0
    labels = tokens.clone()
    labels[0, :6] = IGNORE_LABEL
    labels[1, :7] = IGNORE_LABEL
    return {"input_ids": tokens * mask, "attention_mask": mask, "labels": labels}


def test_the_loss_is_the_plain_one_of_the_answers_and_so_are_its_gradients(tmp_path: Path) -> None:
    model = small_model()
    plain = model(**padded_batch()).loss
    plain.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    loss, outputs = trainer_of(model, tmp_path).compute_loss(
        model, padded_batch(), return_outputs=True
    )
    loss.backward()

    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    assert outputs.logits.shape[1] == 4  # three tokens of the longer answer, and the one before
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-7)


def test_the_losses_of_an_updates_batches_add_up_to_the_mean_over_all_their_tokens(
    tmp_path: Path,
) -> None:
    model = small_model()
    trainer = trainer_of(model, tmp_path)
    mean = trainer.compute_loss(model, padded_batch())
    part = trainer.compute_loss(model, padded_batch(), num_items_in_batch=torch.tensor(20))
    assert part.item() == pytest.approx(mean.item() * 5 / 20, rel=1e-6)


def test_examples_behind_one_another_have_the_plain_loss_too(tmp_path: Path) -> None:
    model = small_model()
    batch = padded_batch()
    tokens = batch["input_ids"].reshape(1, -1)
    labels = batch["labels"].reshape(1, -1)
    positions = torch.arange(9).repeat(2).reshape(1, -1)
    packed = {"input_ids": tokens, "position_ids": positions, "labels": labels}
    plain = model(**packed).loss
    loss = trainer_of(model, tmp_path).compute_loss(model, packed)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
