from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from pipelines import basemodel, generation, weights
from pipelines.config.base import MadeModel

TINY = MadeModel(vocabulary_size=400, hidden_size=16, num_layers=1, num_heads=2, num_tokens=2000, sequence_length=16, batch_size=2, learning_rate=0.001)


def failed(folder: Path) -> list[str]:
    return [check.name for check in weights.checks(folder) if not check.passed]


def test_whole_finite_weights_that_are_not_zero_pass_every_check(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 2), "b": torch.tensor([0.0, 1e-30])}, tmp_path / "adapter_model.safetensors")
    assert [check.name for check in weights.checks(tmp_path)] == ["adapter has tensors", "adapter is finite", "adapter is not zero"]
    assert failed(tmp_path) == []


def test_no_file_and_a_file_without_tensors_fail_every_check(tmp_path: Path) -> None:
    assert failed(tmp_path) == ["adapter has tensors", "adapter is finite", "adapter is not zero"]
    save_file({}, tmp_path / "adapter_model.safetensors")
    assert failed(tmp_path) == ["adapter has tensors", "adapter is finite", "adapter is not zero"]


def test_wrong_tensors_in_any_of_several_files_are_named(tmp_path: Path) -> None:
    save_file({"good": torch.ones(2)}, tmp_path / "model-1.safetensors")
    save_file({"nan": torch.tensor([1.0, torch.nan]), "zero": torch.zeros(3), "none": torch.zeros(0)}, tmp_path / "model-2.safetensors")
    assert {check.name: check.examples for check in weights.checks(tmp_path) if not check.passed} == {"adapter is finite": ["nan"], "adapter is not zero": ["none", "zero"]}


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_truncated_file_cannot_be_read(tmp_path: Path, size: int) -> None:
    save_file({"a": torch.ones(8, 8)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_model.safetensors").write_bytes((tmp_path / "adapter_model.safetensors").read_bytes()[:size])
    assert failed(tmp_path) == ["adapter can be read"]


def test_an_untrained_adapter_is_zero_and_without_effect_and_a_changed_one_is_neither(tmp_path: Path) -> None:
    basemodel.make(["Documents make a small model. " * 40], TINY, 7, tmp_path / "base")
    base = generation.load(tmp_path / "base")
    torch.manual_seed(7)
    made = get_peft_model(generation.load(tmp_path / "base").model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    made.save_pretrained(tmp_path / "adapter")
    assert failed(tmp_path / "adapter") == ["adapter is not zero"]
    untrained = weights.effect(base, generation.load(tmp_path / "base", tmp_path / "adapter"), ["Documents", "small model"])
    assert (untrained.passed, untrained.observed) == (False, "0 of 2 prompts")
    file = tmp_path / "adapter/adapter_model.safetensors"
    save_file({name: torch.full_like(tensor, 0.5) for name, tensor in load_file(file).items()}, file)
    assert failed(tmp_path / "adapter") == []
    trained = weights.effect(base, generation.load(tmp_path / "base", tmp_path / "adapter"), ["Documents", "small model"])
    assert (trained.passed, trained.observed) == (True, "2 of 2 prompts")


def test_an_effect_that_was_shown_on_no_prompt_is_none() -> None:
    assert not weights.effect(None, None, []).passed
