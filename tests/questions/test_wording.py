import random

import pytest

from pipelines.questions import wording


def test_the_normal_form_holds_words_alone() -> None:
    text = "  What's the `Gate`?\n STRASSE straße "
    assert wording.normal(text) == "what s the gate strasse strasse"
    assert wording.normal("?!") == ""


def test_similarity_is_the_share_of_common_character_grams() -> None:
    assert wording.grams("abc") == {" abc", "abc "}
    assert wording.grams("a") == {" a "}
    # " abc" of " abc", "abc ", "abcd", "bcd "
    assert wording.jaccard(wording.grams("abc"), wording.grams("abcd")) == 1 / 4
    assert wording.jaccard(frozenset(), frozenset()) == 1.0


@pytest.mark.parametrize(
    "question", ["how do i run it", "How do I run it?", "  How, do I RUN it!! "]
)
def test_questions_of_the_same_normal_form_have_similarity_one(question: str) -> None:
    (match,) = wording.most_alike([question], ["Where is the gate?", "How do I run it?"])
    assert match == (1.0, "How do I run it?")


def test_a_different_letter_keeps_a_question_near_and_another_question_is_far() -> None:
    (near,) = wording.most_alike(
        ["Where do I read the verdict of the gates?"], ["Where do I read the verdict of the gate?"]
    )
    (far,) = wording.most_alike(
        ["Where do I read the verdict of the gate?"], ["How large is the vector index?"]
    )
    assert 0.9 < near.similarity < 1.0
    assert far.similarity < 0.1


def test_without_candidates_nothing_is_alike() -> None:
    assert wording.most_alike(["a question", "another"], []) == [(0.0, ""), (0.0, "")]


def test_a_variant_leaves_out_words_in_order_and_depends_on_the_dice_alone() -> None:
    question = "how do I read the verdict of the gate in this repository"
    variants = [wording.variant(question, 0.5, random.Random(seed)) for seed in range(50)]
    assert variants == [wording.variant(question, 0.5, random.Random(seed)) for seed in range(50)]
    assert len(set(variants)) > 40
    num_words = 0
    for text in variants:
        num_words += len(text.split())
        remaining = iter(question.split())
        assert all(word in remaining for word in text.split())  # a subsequence
    assert 0.4 < num_words / (50 * 12) < 0.6


def test_a_variant_is_never_empty_and_without_dropout_the_question_itself() -> None:
    assert {wording.variant("why", 0.59, random.Random(seed)) for seed in range(20)} == {"why"}
    assert wording.variant("why  not", 0.0, random.Random(1)) == "why not"
