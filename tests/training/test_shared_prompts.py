"""Examples that share the beginning of their prompts are trained as if each stood alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.training import shared_prompts
from pipelines.training.batches import IGNORE_LABEL
from tests.training.test_batches import small_model, trainer_of

PASSAGE = [5, 6, 7, 8, 9, 10, 11, 12]


def example(prompt: list[int], answer: list[int]) -> dict[str, Any]:
    return {"input_ids": prompt + answer, "labels": [IGNORE_LABEL] * len(prompt) + answer}


EXAMPLES = [
    example([*PASSAGE, 20, 21], [1, 2, 3]),
    example([*PASSAGE, 22], [4]),
    example([*PASSAGE, 20, 23, 24, 25], [2, 2]),
    example([30, 31, 32, 33], [1, 3]),
]


def test_alike_prompts_become_one_row_and_no_token_is_lost() -> None:
    rows = shared_prompts.join(EXAMPLES, 100)
    assert [len(set(row["owners"]) - {0}) for row in rows] == [3, 1]
    assert rows[0]["input_ids"] == [*PASSAGE, 20, 20, 23, 24, 21, 1, 2, 3, 25, 2, 2, 22, 4]
    for original in EXAMPLES:
        assert original["input_ids"] in [tokens for row in rows for tokens in seen_tokens(row)]


def seen_tokens(row: dict[str, Any]) -> list[list[int]]:
    """What the last token of each example in the row sees."""
    mask = shared_prompts.visibility(torch.tensor([row["owners"]]))[0, 0]
    tokens = torch.tensor(row["input_ids"])
    owners = torch.tensor(row["owners"])
    sequences = []
    for owner in sorted(set(row["owners"]) - {0}):
        last = int((owners == owner).nonzero()[-1])
        sequences.append(tokens[mask[last]].tolist())
    return sequences


def test_rows_are_not_longer_than_the_limit() -> None:
    many = [example([*PASSAGE, 20, number], [1]) for number in range(20)]
    rows = shared_prompts.join(many, max_tokens=25)
    assert [max(row["owners"]) for row in rows] == [8, 8, 4]
    assert [len(row["input_ids"]) for row in rows] == [25, 25, 17]
    assert len(shared_prompts.join(many, max_tokens=5)) == 20


def test_no_examples_give_no_rows() -> None:
    assert shared_prompts.join([], 100) == []


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_loss_and_gradients_are_those_of_separate_examples(attention: str, tmp_path: Path) -> None:
    collator = shared_prompts.Collator(pad_token_id=0)
    separate = [shared_prompts.row([item], len(PASSAGE) // 4) for item in EXAMPLES]
    model = small_model()
    trainer = trainer_of(model, tmp_path)
    num_tokens = torch.tensor(8)
    expected = trainer.compute_loss(model, collator(separate), num_items_in_batch=num_tokens)
    expected.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()

    model.set_attn_implementation(attention)
    added_dtype = torch.float32 if attention == "eager" else None
    joining = shared_prompts.Collator(pad_token_id=0, added_dtype=added_dtype)
    batch = joining(shared_prompts.join(EXAMPLES, 100))
    loss = trainer.compute_loss(model, batch, num_items_in_batch=num_tokens)
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-3, atol=1e-6)


def test_a_row_of_one_example_has_the_plain_loss(tmp_path: Path) -> None:
    model = small_model()
    alone = EXAMPLES[0]
    plain = model(
        input_ids=torch.tensor([alone["input_ids"]]), labels=torch.tensor([alone["labels"]])
    ).loss
    batch = shared_prompts.Collator(pad_token_id=0)(shared_prompts.join([alone], 100))
    loss = trainer_of(model, tmp_path).compute_loss(model, batch)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
