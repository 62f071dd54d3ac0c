"""Joins examples whose prompts begin alike: what they share is read once.

Questions about one passage differ only after the passage. Such a row holds the shared beginning,
then the rest of each prompt, then each answer. A mask lets a token see the shared beginning and
what its own example has before it, and positions count as if it stood alone: hidden states and
loss are those of separate examples.

Source of the mask: prefix sharing in tree attention, as in SpecInfer (Miao et al., 2023).
"""

from typing import Any

import torch

from pipelines.training.batches import IGNORE_LABEL

# Of a row of several examples: longer ones save hardly any work, and a batch takes more memory.
MAX_ROW_TOKENS = 512
MIN_SHARE = 0.5  # of a prompt: less in common would save little


def join(examples: list[dict[str, Any]], max_tokens: int = MAX_ROW_TOKENS) -> list[dict[str, Any]]:
    """Rows with the keys of `row`, each of at most so many tokens or of one example.

    The examples have `input_ids` and `labels`.
    """
    rows: list[dict[str, Any]] = []
    group: list[dict[str, Any]] = []
    num_shared = 0
    for example in sorted(examples, key=lambda example: example["input_ids"]):
        num_alike = min(num_shared, _num_alike(group[-1], example)) if group else 0
        is_alike = num_alike >= MIN_SHARE * _prompt_length(example)
        if is_alike and _num_tokens([*group, example], num_alike) <= max_tokens:
            group.append(example)
            num_shared = num_alike
            continue
        if group:
            rows.append(row(group, num_shared))
        group = [example]
        num_shared = _prompt_length(example) - 1
    if group:
        rows.append(row(group, num_shared))
    return rows


def row(examples: list[dict[str, Any]], num_shared: int) -> dict[str, Any]:
    """One row: lists over its tokens.

    `input_ids`, `labels`, `position_ids`, and `owners`: the example to which a token belongs,
    numbered from 1, or 0 of a shared token. The last token of each prompt stands before its
    answer, which it predicts.
    """
    result: dict[str, Any] = {
        "input_ids": examples[0]["input_ids"][:num_shared],
        "labels": [IGNORE_LABEL] * num_shared,
        "position_ids": list(range(num_shared)),
        "owners": [0] * num_shared,
    }
    for number, example in enumerate(examples, start=1):
        _append(result, example, number, range(num_shared, _prompt_length(example) - 1))
    for number, example in enumerate(examples, start=1):
        start = _prompt_length(example) - 1
        _append(result, example, number, range(start, len(example["input_ids"])))
    return result


def _append(result: dict[str, Any], example: dict[str, Any], owner: int, positions: range) -> None:
    result["input_ids"] += example["input_ids"][positions.start : positions.stop]
    result["labels"] += example["labels"][positions.start : positions.stop]
    result["position_ids"] += positions
    result["owners"] += [owner] * len(positions)


class Collator:
    """Pads rows on the left, so that the answers stand together at the end (batches.py).

    `added_dtype`: of a mask that is added to the attention's scores, as the attention `eager` takes
    it; None: bool, as `sdpa` takes it.
    """

    def __init__(self, pad_token_id: int, added_dtype: torch.dtype | None = None) -> None:
        self._added_dtype = added_dtype
        self._fills = {
            "input_ids": pad_token_id,
            "labels": IGNORE_LABEL,
            "position_ids": 0,
            "owners": -1,
        }

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors of shape (rows, tokens), and `attention_mask`: (rows, 1, tokens, tokens)."""
        num_tokens = max(len(item["input_ids"]) for item in rows)
        batch: dict[str, torch.Tensor] = {}
        for key, fill in self._fills.items():
            values = []
            for item in rows:
                values.append([fill] * (num_tokens - len(item[key])) + item[key])
            batch[key] = torch.tensor(values)
        mask = visibility(batch.pop("owners"))
        if self._added_dtype is not None:
            mask = as_added(mask, self._added_dtype)
        batch["attention_mask"] = mask
        return batch


def as_added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where a token is seen, and the smallest number elsewhere."""
    return torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


def visibility(owners: torch.Tensor) -> torch.Tensor:
    """Which token (third dimension) sees which (fourth): bool, shape (rows, 1, tokens, tokens).

    `owners` has shape (rows, tokens), with -1 for padding. A padding token sees itself alone,
    since a token that sees none has no attention.
    """
    seeing = owners.unsqueeze(2)
    seen = owners.unsqueeze(1)
    num_tokens = owners.shape[1]
    is_before = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()
    is_itself = torch.eye(num_tokens, dtype=torch.bool)
    is_open = (seen == 0) | (seen == seeing)
    is_real = (seeing >= 0) & (seen >= 0)
    return ((is_before & is_open & is_real) | is_itself).unsqueeze(1)


def _prompt_length(example: dict[str, Any]) -> int:
    """Tokens before the answer."""
    labels = example["labels"]
    for position, label in enumerate(labels):
        if label != IGNORE_LABEL:
            return position
    return len(labels)


def _num_tokens(examples: list[dict[str, Any]], num_shared: int) -> int:
    """Tokens of their row."""
    num_own = [len(example["input_ids"]) - num_shared for example in examples]
    return num_shared + sum(num_own)


def _num_alike(before: dict[str, Any], example: dict[str, Any]) -> int:
    """Tokens with which both prompts begin, at most all but the last of the shorter prompt."""
    longest = min(_prompt_length(before), _prompt_length(example)) - 1
    pairs = zip(before["input_ids"][:longest], example["input_ids"][:longest], strict=True)
    for position, (left, right) in enumerate(pairs):
        if left != right:
            return position
    return longest
