from functools import partial
from pathlib import Path

import pytest
import torch

from pipelines.config.base import MadeModel
from pipelines.runtime import recording, transformers_engine
from pipelines.runtime.transformers_engine import TransformersGenerator as Generator
from pipelines.training import base_model

TINY = MadeModel(
    vocabulary_size=400,
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    num_tokens=2500,
    sequence_length=32,
    batch_size=4,
    learning_rate=0.01,
)
TEXT = "The gate refuses a worse candidate. A release is a decision by a person. "


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder: Path = tmp_path_factory.mktemp("tiny") / "base"
    base_model.make([TEXT * 30], TINY, 7, folder)
    return transformers_engine.load(folder, precision="fp32")


@pytest.mark.parametrize(("rows", "tokens"), [(1, 2), (1, 30), (7, 90), (16, 20)])
def test_a_recorded_step_is_the_models_own_to_the_bit_for_any_number_of_rows_and_tokens(
    generator: Generator, rows: int, tokens: int
) -> None:
    assert isinstance(generator.step, torch.jit.ScriptFunction)
    own = partial(transformers_engine.own_step, generator.model)
    inputs = recording.example(generator.model, own, rows, tokens)
    with torch.inference_mode():
        token, log_probability, cache = generator.step(*inputs)
        own_token, own_log_probability, own_cache = own(*inputs)
    pairs = zip(cache, own_cache, strict=True)
    assert token.tolist() == own_token.tolist()
    assert log_probability.tolist() == own_log_probability.tolist()
    assert all(torch.equal(part, own_part) for part, own_part in pairs)


def test_a_model_that_decides_by_values_is_not_recorded_says_so_and_answers_by_its_own_code(
    generator: Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        # Different angles from max_position_embeddings on.
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
        eos_token_id=2,
    )
    stretched = Generator(LlamaForCausalLM(config).eval(), generator.tokenizer)
    (row,) = stretched.generate_rows(["What?"], 40, 1)
    assert "is not recorded" in capsys.readouterr().out
    inputs = generator.tokenizer("What?", return_tensors="pt")
    with torch.inference_mode():
        sequence = stretched.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=40,
            do_sample=False,
            pad_token_id=generator.tokenizer.pad_token_id,
            eos_token_id=generator.tokenizer.eos_token_id,
        )[0]
    tokens = sequence[inputs["input_ids"].shape[1] :].tolist()
    expected = tokens[:-1] if tokens[-1] == generator.tokenizer.eos_token_id else tokens
    assert row.tokens[: len(expected)] == expected
