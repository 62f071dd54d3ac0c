import pytest

from pipelines.runtime import support

PASSAGES = [
    "A release keeps the last 3 collections.",
    "The gate refuses a candidate that is worse.",
]


def test_an_answer_in_the_words_of_a_passage_is_supported_by_it() -> None:
    assert support.measure("It keeps the last 3 collections.", PASSAGES) == (1.0, (1,))


def test_each_sentence_has_its_own_passage_and_the_weakest_decides() -> None:
    answer = "The gate refuses a candidate. It keeps the last 5 collections."
    share, passages = support.measure(answer, PASSAGES)
    assert share == 0.0  # the passage holds keeps, last and collections, but not the number 5
    assert passages == (2, 0)


def test_words_that_are_missing_count_by_their_share_and_a_missing_number_spoils_it_all() -> None:
    assert support.measure("It keeps all collections.", PASSAGES).share == pytest.approx(2 / 3)
    assert support.measure("It keeps the last 4 collections.", PASSAGES).share == 0.0


def test_words_of_two_passages_do_not_add_up() -> None:
    share, passages = support.measure("the gate keeps collections", PASSAGES)
    assert share == pytest.approx(2 / 3)
    assert passages == (1,)


def test_words_that_nearly_every_passage_holds_do_not_count_unless_there_are_no_others() -> None:
    assert support.measure("This is what they have: the gate", ["gate"]).share == pytest.approx(0.5)
    assert support.measure("it is", ["It is so."]) == (1.0, (1,))


@pytest.mark.parametrize(
    ("answer", "passages"), [("anything", []), ("", PASSAGES), ("?!", PASSAGES), ("zebra", [""])]
)
def test_without_passages_or_words_nothing_is_supported(answer: str, passages: list[str]) -> None:
    assert support.measure(answer, passages) == (0.0, (0,))
