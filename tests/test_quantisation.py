from pathlib import Path

import pytest
import torch

from pipelines import basemodel, generation, quantisation
from pipelines.config.base import MadeModel

TINY = MadeModel(vocabulary_size=400, hidden_size=32, num_layers=1, num_heads=2, num_tokens=2500, sequence_length=32, batch_size=4, learning_rate=0.01)
PROMPTS = ["The gate", "Documents are", "A release", "What?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny") / "base"
    basemodel.make(["The gate refuses a worse candidate. A release is a decision by a person. " * 30], TINY, 7, made)
    return made


def test_a_model_has_full_parity_with_itself(folder: Path) -> None:
    one, other = (generation.load(folder, precision="fp32") for _ in range(2))
    assert quantisation.parity(one, other, PROMPTS, 8, 4) == (4, 1.0, 1.0, [])


def test_changed_weights_show_in_tokens_and_answers(folder: Path) -> None:
    exact, changed = (generation.load(folder, precision="fp32") for _ in range(2))
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in changed.model.parameters():
            weight.add_(torch.randn_like(weight) * weight.std())
    found = quantisation.parity(exact, changed, PROMPTS, 8, 4)
    assert found.same_tokens < 0.9
    assert found.same_answers < 0.9
    assert " instead of " in found.examples[0]


def test_no_prompts_are_no_parity(folder: Path) -> None:
    one = generation.load(folder, precision="fp32")
    assert quantisation.parity(one, one, [], 8, 4)[:2] == (0, 0.0)
