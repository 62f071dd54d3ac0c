from functools import partial
from pathlib import Path

import pytest
import torch

from pipelines import basemodel, generation
from pipelines.config.base import MadeModel
from pipelines.generation import Batch, Generator

TINY = MadeModel(vocabulary_size=400, hidden_size=32, num_layers=2, num_heads=2, num_tokens=2500, sequence_length=32, batch_size=4, learning_rate=0.01)
PROMPTS = ["The gate", "Why does the gate refuse a candidate that is worse than the champion, and who decides about it?", "Documents are", "A release is a decision by a person. " * 3, "What?"]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = tmp_path_factory.mktemp("tiny") / "base"
    basemodel.make(["The gate refuses a worse candidate. A release is a decision by a person. Documents are read. " * 30], TINY, 7, folder)
    return generation.load(folder, precision="fp32")


def by_transformers(generator: Generator, prompt: str, max_new_tokens: int) -> list[int]:
    """New tokens of the library's own greedy generation of this prompt alone, without the end token."""
    inputs = generator.tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        written = generator.model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=generator.tokenizer.pad_token_id,
            eos_token_id=generator.tokenizer.eos_token_id,
        )  # fmt: skip
    tokens: list[int] = written[0, inputs["input_ids"].shape[1] :].tolist()
    return tokens[:-1] if tokens[-1] == generator.tokenizer.eos_token_id else tokens


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_answers_are_those_of_transformers_own_greedy_generation_whatever_the_batch_size(generator: Generator, batch_size: int) -> None:
    given = generator.answer(PROMPTS * 2, 20, batch_size)
    expected = [by_transformers(generator, prompt, 20) for prompt in PROMPTS]
    assert [answer.num_new_tokens for answer in given] == [len(tokens) for tokens in expected] * 2
    assert [answer.text for answer in given] == [generator.tokenizer.decode(tokens, skip_special_tokens=True).strip() for tokens in expected] * 2
    assert [answer.num_prompt_tokens for answer in given] == [len(generator.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS] * 2


def test_a_row_that_joins_later_is_written_as_if_it_were_alone_and_so_are_those_that_it_joined(generator: Generator) -> None:
    early, long, late = (generator.row(prompt, limit) for prompt, limit in zip(PROMPTS[:3], (3, 20, 20), strict=True))
    batch = Batch(generator)
    batch.add([early, long])
    for _ in range(4):
        batch.leave()
        batch.step()
    batch.add([late])
    while batch.rows:
        batch.leave()
        if batch.rows:
            batch.step()
    for row, prompt, limit in zip((early, long, late), PROMPTS[:3], (3, 20, 20), strict=True):
        expected = by_transformers(generator, prompt, limit)
        assert row.tokens[: len(expected)] == expected
        assert len(row.tokens) <= limit


def test_a_row_that_is_stopped_gets_no_further_token(generator: Generator) -> None:
    stopped, other = (generator.row(prompt, 20) for prompt in PROMPTS[:2])
    batch = Batch(generator)
    batch.add([stopped, other])
    batch.step()
    stopped.stopped = True
    written = len(stopped.tokens)
    assert batch.leave() == [stopped]
    batch.step()
    assert (len(stopped.tokens), batch.rows) == (written, [other])


def test_padding_goes_with_the_row_that_needed_it(generator: Generator) -> None:
    long, short = generator.row(PROMPTS[1], 2), generator.row(PROMPTS[4], 20)
    batch = Batch(generator)
    batch.add([long, short])
    batch.step()
    batch.leave()
    assert batch._cache[0].shape[2] == len(short.prompt) + 1 < len(long.prompt)


@pytest.mark.parametrize(("rows", "cached"), [(1, 2), (1, 30), (7, 90), (16, 20)])
def test_a_recorded_step_gives_the_models_own_tokens_keys_and_values_to_the_bit_for_any_number_of_rows_and_tokens(generator: Generator, rows: int, cached: int) -> None:
    assert isinstance(generator.step, torch.jit.ScriptFunction)
    own = partial(generation._next, generator.model)
    inputs = generation._example(generator.model, own, rows, cached)
    with torch.inference_mode():
        (token, cache), (expected, expected_cache) = generator.step(*inputs), own(*inputs)
    assert token.tolist() == expected.tolist()
    assert all(torch.equal(part, other) for part, other in zip(cache, expected_cache, strict=True))


def test_a_model_that_decides_by_values_is_not_recorded_says_so_and_answers_by_its_own_code(generator: Generator, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    sizes = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}  # other angles from max_position_embeddings on
    stretched = Generator(LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=16, rope_parameters=rope, eos_token_id=2)).eval(), generator.tokenizer)
    (answer,) = stretched.written([PROMPTS[4]], 40, 1)
    assert "is not recorded" in capsys.readouterr().out
    expected = by_transformers(stretched, PROMPTS[4], 40)
    assert answer.tokens[: len(expected)] == expected


def test_a_model_that_keeps_a_state_instead_of_keys_and_values_is_refused(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=8, state_size=4, num_hidden_layers=1)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="MambaForCausalLM keeps a state instead of keys and values"):
        generation.load(tmp_path)
