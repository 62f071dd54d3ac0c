"""Batches of examples of similar length: padding to the longest of a batch is work for nothing."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.trainer_pt_utils import get_length_grouped_indices

IGNORE_LABEL = -100  # label of a token that does not count in the loss


class ByLength(Sampler[int]):  # type: ignore[misc]  # mypy sees no types of torch
    """Indices of the examples, so that each successive `batch_size` have similar lengths.

    The order differs by epoch and is the same for the same seed: a resumed training skips the
    examples that it has already trained on.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The training loop calls it before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """The groups of transformers run from long to short, so the batches are shuffled.

        A last batch that is not full stays the last.
        """
        size = self._batch_size
        dice = torch.Generator().manual_seed(self._seed + self._epoch)
        indices = get_length_grouped_indices(self._lengths, size, generator=dice)
        num_full = len(indices) // size
        for batch in [*torch.randperm(num_full, generator=dice).tolist(), num_full]:
            yield from indices[batch * size : (batch + 1) * size]


def _tokens_from_first_answer(labels: torch.Tensor) -> int:
    """Tokens from the first that counts in any row to the end. Labels: shape (rows, tokens)."""
    columns = (labels != IGNORE_LABEL).any(dim=0).nonzero()
    return int(labels.shape[1] - columns[0])


class TrainerByLength(Trainer):  # type: ignore[misc]  # mypy sees no types of transformers
    """The Trainer with these batches, and with the loss of the answers alone.

    Its own `group_by_length` uses the random numbers of the process, which a resumed process does
    not have, and trains on long batches before short ones.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Mean loss of the answers' tokens.

        Logits are computed from the first token of an answer on alone: they cost as much as a
        third of the layers, and a prompt's are not used.
        """
        labels = inputs.pop("labels")
        num_tokens = labels.shape[1]
        num_kept = _tokens_from_first_answer(labels) + 1  # the one before it predicts it
        # Positions, not a count: a count gives a view of the hidden states, for which torch copies
        # the output embedding once for each row of the batch.
        positions = torch.arange(num_tokens - num_kept, num_tokens, device=labels.device)
        outputs = model(**inputs, logits_to_keep=positions)
        logits = outputs.logits[:, :-1].float()
        targets = labels[:, num_tokens - num_kept + 1 :]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            targets.reshape(-1),
            ignore_index=IGNORE_LABEL,
            reduction="mean" if num_items_in_batch is None else "sum",
        )
        if num_items_in_batch is not None:
            # Tokens of all the batches of one update in all processes, which DeepSpeed averages.
            loss = loss * self.accelerator.num_processes / num_items_in_batch
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(row["input_ids"]) for row in rows]
        return ByLength(lengths, self.args.train_batch_size, self.args.data_seed)
