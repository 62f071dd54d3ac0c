import numpy as np
import pytest

from pipelines.runtime import late_interaction
from pipelines.runtime.late_interaction import WordVectors, num_candidates, order, score


def test_a_passage_counts_with_the_best_cosine_of_each_word_of_the_question() -> None:
    question = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    passage = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    no_words = np.zeros((0, 2), dtype=np.float32)
    assert score(question, passage) == pytest.approx((1.0 + 0.8) / 2)
    assert score(question, no_words) == 0.0
    assert score(no_words, question) == 0.0


def test_the_weight_decides_between_place_and_score() -> None:
    scores = [0.2, 0.9, 0.5]
    assert order(scores, 0) == [0, 1, 2]
    assert order(scores, 1) == [1, 2, 0]
    # Places 1, 2/3, 1/3; scores scaled to 0, 1, 3/7: 0.6, 0.8, 0.37.
    assert order(scores, 0.4) == [1, 0, 2]
    assert order(scores, 0.1) == [0, 1, 2]


def test_equal_scores_leave_the_order_and_no_passage_is_no_error() -> None:
    assert order([0.5, 0.5, 0.5], 1) == [0, 1, 2]
    assert order([], 0.8) == []


def test_as_many_passages_are_searched_as_are_reordered_and_no_more_without_reordering() -> None:
    assert num_candidates(3, 0.8) == late_interaction.NUM_REORDERED
    assert num_candidates(50, 0.8) == 50
    assert num_candidates(3, 0) == 3
    assert len(order([0.1] * 30, 1)) == late_interaction.NUM_REORDERED


def test_word_vectors_are_encoded_once_and_those_asked_for_long_ago_are_forgotten() -> None:
    encoded: list[str] = []

    def encode(texts: list[str]) -> list[np.ndarray]:
        encoded.extend(texts)
        return [np.eye(2, dtype=np.float32)[[len(text) % 2]] for text in texts]

    words = WordVectors(encode, max_texts=2)
    assert words.scores("q", ["b", "cc"]) == [1.0, 0.0]
    assert encoded == ["b", "cc", "q"]
    assert words.scores("cc", ["b"]) == [0.0]
    assert encoded == ["b", "cc", "q"]  # the two that were kept
    assert words.scores("q", ["b"]) == [1.0]
    assert encoded == ["b", "cc", "q", "q"]
