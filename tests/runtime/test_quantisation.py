from pathlib import Path

import pytest
import torch

from pipelines.config.base import MadeModel
from pipelines.runtime import quantisation, transformers_engine
from pipelines.training import base_model

TINY = MadeModel(
    vocabulary_size=400,
    hidden_size=32,
    num_layers=1,
    num_heads=2,
    num_tokens=2500,
    sequence_length=32,
    batch_size=4,
    learning_rate=0.01,
)
TEXT = "The gate refuses a worse candidate. A release is a decision by a person. "
PROMPTS = ["The gate", "Documents are", "A release", "What?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("tiny") / "base"
    base_model.make([TEXT * 30], TINY, 7, base)
    return base


def test_a_model_has_full_parity_with_itself(folder: Path) -> None:
    model = transformers_engine.load(folder, precision="fp32")
    same_model = transformers_engine.load(folder, precision="fp32")
    assert quantisation.parity(model, same_model, PROMPTS, 8, 4) == (4, 1.0, 1.0, [])


def test_changed_weights_show_in_tokens_and_answers(folder: Path) -> None:
    exact = transformers_engine.load(folder, precision="fp32")
    noisy = transformers_engine.load(folder, precision="fp32")
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in noisy.model.parameters():
            weight.add_(torch.randn_like(weight) * weight.std())
    parity = quantisation.parity(exact, noisy, PROMPTS, 8, 4)
    assert parity.same_tokens < 0.9
    assert parity.same_answers < 0.9
    assert " instead of " in parity.examples[0]


def test_no_prompts_are_no_parity(folder: Path) -> None:
    model = transformers_engine.load(folder, precision="fp32")
    assert quantisation.parity(model, model, [], 8, 4)[:2] == (0, 0.0)
