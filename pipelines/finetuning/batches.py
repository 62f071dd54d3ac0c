"""Batches of examples that are about equally long: what is filled up to the longest of a batch is work for nothing."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_pt_utils import get_length_grouped_indices


class ByLength(Sampler[int]):  # type: ignore[misc]
    """Places of the examples, so that each successive `batch_size` have similar lengths. Another order each epoch, the same for the same seed: a resumed training skips what it has seen."""

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed, self._epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The loop calls it before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """transformers' groups run from long to short; the batches are shuffled, all but a last one that is not full."""
        dice = torch.Generator().manual_seed(self._seed + self._epoch)
        places = get_length_grouped_indices(self._lengths, self._batch_size, generator=dice)
        num_full = len(places) // self._batch_size
        for batch in [*torch.randperm(num_full, generator=dice).tolist(), num_full]:
            yield from places[batch * self._batch_size : (batch + 1) * self._batch_size]


class TrainerByLength(Trainer):  # type: ignore[misc]
    """The Trainer with these batches. Its own `group_by_length` draws from random numbers of the process, which a resumed one does not have, and trains on long batches before short ones."""

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset
        return ByLength([len(row["input_ids"]) for row in rows], self.args.train_batch_size, self.args.data_seed)
