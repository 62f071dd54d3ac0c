import time
from typing import Any

import numpy as np

from pipelines.runtime.groundedness import Groundedness

VECTORS = {"Cats purr.": (1.0, 0.0), "Dogs bark.": (0.0, 1.0), "A cat purrs.": (0.8, 0.6)}


def encode(sentences: list[str]) -> Any:
    return np.array([VECTORS[sentence] for sentence in sentences], dtype=np.float32)


def test_the_share_of_sentences_near_a_passage_is_measured() -> None:
    groundedness = Groundedness(encode, min_similarity=0.7)
    assert groundedness.measure("A cat purrs. Dogs bark.", ["Cats purr."]) == 0.5


def test_without_passages_nothing_is_measured() -> None:
    assert Groundedness(encode, min_similarity=0.7).measure("Cats purr.", []) is None


def test_after_a_measurement_the_encoder_rests_for_twice_as_long() -> None:
    def encode_slowly(sentences: list[str]) -> Any:
        time.sleep(0.2)
        return encode(sentences)

    groundedness = Groundedness(encode_slowly, min_similarity=0.7)
    assert groundedness.measure("Cats purr.", ["Cats purr."]) == 1.0
    assert groundedness.measure("Cats purr.", ["Cats purr."]) is None
    time.sleep(0.6)
    assert groundedness.measure("Cats purr.", ["Cats purr."]) == 1.0


def test_known_sentences_are_not_encoded_again() -> None:
    encodings: list[list[str]] = []

    def encode_and_note(sentences: list[str]) -> Any:
        encodings.append(sentences)
        return encode(sentences)

    groundedness = Groundedness(encode_and_note, min_similarity=0.7)
    groundedness.measure("Cats purr.", ["Dogs bark."])
    time.sleep(0.1)
    groundedness.measure("A cat purrs.", ["Dogs bark."])
    assert encodings == [["Cats purr.", "Dogs bark."], ["A cat purrs."]]
