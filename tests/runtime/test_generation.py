from collections import deque
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from pipelines.config.base import MadeModel
from pipelines.runtime import generation, transformers_engine
from pipelines.runtime.transformers_engine import PaddedBatch, TransformersGenerator
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
TEXT = (
    "The gate refuses a worse candidate. A release is a decision by a person. Documents are read. "
)
PROMPTS = [
    "The gate",
    "Why does the gate refuse a candidate that is worse than the champion, and who decides?",
    "Documents are",
    "A release is a decision by a person. " * 3,
    "What?",
]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> TransformersGenerator:
    folder = tmp_path_factory.mktemp("tiny") / "base"
    base_model.make([TEXT * 30], TINY, 7, folder)
    return transformers_engine.load(folder, precision="fp32")


def generate_by_transformers(
    generator: TransformersGenerator, prompt: str, max_new_tokens: int
) -> list[int]:
    """New tokens of the library's own greedy generation for one prompt, without the end token."""
    inputs = generator.tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        sequence = generator.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=generator.tokenizer.pad_token_id,
            eos_token_id=generator.tokenizer.eos_token_id,
        )[0]
    tokens: list[int] = sequence[inputs["input_ids"].shape[1] :].tolist()
    return tokens[:-1] if tokens[-1] == generator.tokenizer.eos_token_id else tokens


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_answers_are_those_of_transformers_whatever_the_batch_size(
    generator: TransformersGenerator, batch_size: int
) -> None:
    answers = generator.answer(PROMPTS * 2, 20, batch_size)
    decode = generator.tokenizer.decode
    expected = []
    for prompt in PROMPTS:
        tokens = generate_by_transformers(generator, prompt, 20)
        text = decode(tokens, skip_special_tokens=True).strip()
        num_prompt_tokens = len(generator.tokenizer(prompt)["input_ids"])
        expected.append((text, num_prompt_tokens, len(tokens)))
    assert [answer[:3] for answer in answers] == expected * 2


def test_the_progress_bar_moves_while_prompts_are_read_in_groups(
    generator: TransformersGenerator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(generation, "MAX_READ_TOKENS", 40)
    waiting = deque(generator.row(prompt, 20) for prompt in PROMPTS[1:2] * 4)
    width = len(waiting[0].prompt)
    groups = list(generation._groups(waiting, 3))
    assert sum(map(len, groups)) == 3
    assert max(map(len, groups)) == max(1, 40 // width)
    assert len(waiting) == 1
    answers = generator.answer(PROMPTS, 20, 8, progress="candidate")
    monkeypatch.setattr(generation, "MAX_READ_TOKENS", 4096)
    expected = generator.answer(PROMPTS, 20, 8)
    assert [answer.text for answer in answers] == [answer.text for answer in expected]
    bar = capsys.readouterr().err
    assert f"{2 * len(PROMPTS)}/{2 * len(PROMPTS)}" in bar
    assert "prompts and answers" in bar


def test_a_row_that_joins_later_changes_nothing_for_itself_or_for_those_that_it_joined(
    generator: TransformersGenerator,
) -> None:
    early = generator.row(PROMPTS[0], 3)
    long = generator.row(PROMPTS[1], 20)
    late = generator.row(PROMPTS[2], 20)
    batch = PaddedBatch(generator)
    batch.add([early, long])
    for _ in range(4):
        batch.leave()
        batch.step()
    batch.add([late])
    while batch.rows:
        batch.leave()
        if batch.rows:
            batch.step()
    for row, prompt in zip((early, long, late), PROMPTS[:3], strict=True):
        expected = generate_by_transformers(generator, prompt, row.max_new_tokens)
        assert row.tokens[: len(expected)] == expected
        assert len(row.tokens) <= row.max_new_tokens


def test_each_end_token_of_the_generation_configuration_ends_an_answer(
    generator: TransformersGenerator, tmp_path: Path
) -> None:
    (row,) = generator.generate_rows(PROMPTS[:1], 20, 1)
    last = next(token for token in row.tokens[2:] if token not in row.tokens[:2])
    generator.model.save_pretrained(tmp_path)
    generator.tokenizer.save_pretrained(tmp_path)
    GenerationConfig(eos_token_id=[399, last], do_sample=True).save_pretrained(tmp_path)
    short_generator = transformers_engine.load(tmp_path, precision="fp32")
    assert short_generator.end_tokens == {399, last, generator.tokenizer.eos_token_id}
    (short_row,) = short_generator.generate_rows(PROMPTS[:1], 20, 1)
    num_tokens = row.tokens.index(last)
    assert short_row.tokens == row.tokens[: num_tokens + 1]
    answer = short_generator.read(short_row)
    text = generator.tokenizer.decode(row.tokens[:num_tokens], skip_special_tokens=True)
    assert (answer.text, answer.num_new_tokens) == (text.strip(), num_tokens)
    # What is exported says the same, and nothing of sampling.
    short_generator.model.save_pretrained(tmp_path / "export")
    exported_config = GenerationConfig.from_pretrained(tmp_path / "export")
    assert exported_config.eos_token_id == [399, last]
    assert not exported_config.do_sample


def test_a_row_that_is_stopped_gets_no_further_token(generator: TransformersGenerator) -> None:
    stopped_row = generator.row(PROMPTS[0], 20)
    running_row = generator.row(PROMPTS[1], 20)
    batch = PaddedBatch(generator)
    batch.add([stopped_row, running_row])
    batch.step()
    stopped_row.is_stopped = True
    num_tokens = len(stopped_row.tokens)
    assert batch.leave() == [stopped_row]
    batch.step()
    assert (len(stopped_row.tokens), batch.rows) == (num_tokens, [running_row])


def test_padding_goes_with_the_row_that_needed_it(generator: TransformersGenerator) -> None:
    long = generator.row(PROMPTS[1], 2)
    short = generator.row(PROMPTS[4], 20)
    batch = PaddedBatch(generator)
    batch.add([long, short])
    batch.step()
    batch.leave()
    assert batch._cache[0].shape[2] == len(short.prompt) + 1 < len(long.prompt)


def test_a_model_that_keeps_a_state_instead_of_keys_and_values_is_refused(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=50, hidden_size=8, state_size=4, num_hidden_layers=1)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    message = "MambaForCausalLM keeps a state instead of keys and values"
    with pytest.raises(ValueError, match=message):
        transformers_engine.load(tmp_path)
