from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines import files
from pipelines.config import params
from pipelines.config.finetune import FinetuneConfig
from pipelines.errors import UserError
from pipelines.training import base_model, job, worker

EXAMPLE = {
    "topic": "t",
    "question": "where is number 3",
    "prompt": "Question: where is number 3\nAnswer:",
    "completion": " in file 3",
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return base_model.train_tokenizer(["where is the file with this number? " * 40], 400)


def test_an_example_that_is_too_long_is_an_error_that_quotes_it(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    problem = (
        r"topic t has \d+ tokens, more than params\.yaml: finetune\.max_tokens \(16\): "
        "'where is number 3'"
    )
    with pytest.raises(UserError, match=problem):
        worker.encode(tokenizer, EXAMPLE, 16)


def test_only_the_completion_counts_in_the_loss(tokenizer: PreTrainedTokenizerFast) -> None:
    row = worker.encode(tokenizer, EXAMPLE, 192)
    tokens = []
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        if label != -100:
            tokens.append(token)
    assert tokenizer.decode(tokens) == " in file 3</s>"


def test_an_unfinished_checkpoint_is_removed_and_the_one_before_it_is_continued(
    tmp_path: Path,
) -> None:
    (tmp_path / "checkpoint-10").mkdir()
    (tmp_path / "checkpoint-20").mkdir()
    files.write_text(tmp_path / "checkpoint-10" / job.FINISH_MARK, "")

    assert worker.last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert not (tmp_path / "checkpoint-20").exists()


def small_model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
        )
    )


def lora(**changes: object) -> FinetuneConfig:
    section = params.load().section(FinetuneConfig)
    changes = {"method": "lora", "train_embeddings": False, "zero_stage": 2, **changes}
    return section.model_copy(update=changes)


@pytest.mark.parametrize(("first_layer", "layers"), [(0, {0, 1, 2}), (1, {1, 2}), (2, {2})])
def test_lora_trains_every_linear_module_from_the_first_layer_on(
    first_layer: int, layers: set[int]
) -> None:
    model = worker._with_lora(small_model(), lora(first_layer=first_layer))
    trained: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts = name.split(".")
            trained.setdefault(int(parts[parts.index("layers") + 1]), set()).add(parts[-4])
    linear_names = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert trained == dict.fromkeys(layers, linear_names)


def test_a_first_layer_that_the_base_model_lacks_is_an_error_with_its_number_of_layers() -> None:
    problem = (
        r"params\.yaml: finetune\.first_layer: 3, but the base model has 3 layers, numbered from "
        "0: take a smaller number"
    )
    with pytest.raises(UserError, match=problem):
        worker._with_lora(small_model(), lora(first_layer=3))
