import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from pipelines.config.base import MadeModel
from pipelines.runtime import transformers_engine
from pipelines.training import base_model, weights

TINY = MadeModel(
    vocabulary_size=400,
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    num_tokens=2000,
    sequence_length=16,
    batch_size=2,
    learning_rate=0.001,
)
ALL_CHECKS = ["adapter has tensors", "adapter is finite", "adapter is not zero"]


def violations(folder: Path) -> list[str]:
    """Names of the checks that do not pass."""
    return [check.name for check in weights.checks(folder) if not check.passed]


def test_whole_finite_weights_that_are_not_zero_pass_every_check(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2, 2), "b": torch.tensor([0.0, 1e-30])}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    assert [check.name for check in weights.checks(tmp_path)] == ALL_CHECKS
    assert violations(tmp_path) == []


def test_no_file_and_a_file_without_tensors_fail_every_check(tmp_path: Path) -> None:
    assert violations(tmp_path) == ALL_CHECKS
    save_file({}, tmp_path / "adapter_model.safetensors")
    assert violations(tmp_path) == ALL_CHECKS


def test_wrong_tensors_in_any_of_several_files_are_named(tmp_path: Path) -> None:
    save_file({"good": torch.ones(2)}, tmp_path / "model-1.safetensors")
    save_file(
        {"nan": torch.tensor([1.0, torch.nan]), "zero": torch.zeros(3), "none": torch.zeros(0)},
        tmp_path / "model-2.safetensors",
    )
    presence, finiteness, non_zero = weights.checks(tmp_path)
    assert (presence.passed, finiteness.passed, non_zero.passed) == (True, False, False)
    assert finiteness.examples == ["nan"]
    assert non_zero.examples == ["none", "zero"]


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_truncated_file_cannot_be_read(tmp_path: Path, size: int) -> None:
    path = tmp_path / "adapter_model.safetensors"
    save_file({"a": torch.ones(8, 8)}, path)
    path.write_bytes(path.read_bytes()[:size])
    assert violations(tmp_path) == ["adapter can be read"]


def test_an_untrained_adapter_is_zero_and_without_effect_and_a_different_one_is_neither(
    tmp_path: Path,
) -> None:
    base_folder = tmp_path / "base"
    adapter_folder = tmp_path / "adapter"
    base_model.make(["Documents make a small model. " * 40], TINY, 7, base_folder)
    base = transformers_engine.load(base_folder)
    torch.manual_seed(7)
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    get_peft_model(transformers_engine.load(base_folder).model, settings).save_pretrained(
        adapter_folder
    )
    assert violations(adapter_folder) == ["adapter is not zero"]
    prompts = ["Documents", "small model"]
    effect = weights.effect(base, transformers_engine.load(base_folder, adapter_folder), prompts)
    assert (effect.passed, effect.observed) == (False, "0 of 2 prompts")
    file = adapter_folder / "adapter_model.safetensors"
    tensors = {name: torch.full_like(tensor, 0.5) for name, tensor in load_file(file).items()}
    save_file(tensors, file)
    assert violations(adapter_folder) == []
    effect = weights.effect(base, transformers_engine.load(base_folder, adapter_folder), prompts)
    assert (effect.passed, effect.observed) == (True, "2 of 2 prompts")


def test_an_effect_that_was_measured_on_no_prompt_does_not_pass() -> None:
    assert not weights.effect(None, None, []).passed


def test_a_tidy_adapter_names_its_base_as_the_pipeline_does_and_lists_in_order(
    tmp_path: Path,
) -> None:
    path = tmp_path / "adapter_config.json"
    config = {"base_model_name_or_path": "/somewhere/else", "target_modules": ["v", "q"], "r": 2}
    path.write_text(json.dumps(config))
    (tmp_path / "README.md").write_text("by-product")
    weights.tidy(tmp_path, Path("models/base"))
    assert json.loads(path.read_text()) == {
        "base_model_name_or_path": "models/base",
        "target_modules": ["q", "v"],
        "r": 2,
    }
    assert [item.name for item in tmp_path.iterdir()] == ["adapter_config.json"]
