import math
from typing import Any

import pytest

from pipelines import comparison, scoring
from pipelines.contracts.scores import Interval


def test_answers_are_compared_without_case_articles_punctuation_and_surplus_space() -> None:
    assert comparison.normalized("  The `Gate`,   an END. ") == "gate end"
    assert scoring.exact_match("Run the gate!", "run  gate") == 1.0
    assert scoring.exact_match("Run the gate again", "run gate") == 0.0
    assert scoring.exact_match("", "run gate") == 0.0


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [
        ("run make test", "run make test", 1.0),
        ("run make", "run make test now", 2 * 1 * 0.5 / 1.5),  # precision 2/2, recall 2/4
        ("run run run", "run make", 2 * (1 / 3) * 0.5 / (1 / 3 + 0.5)),  # a word counts as often as it is expected
        ("something else", "run make", 0.0),
        ("", "run make", 0.0),
    ],
)
def test_token_f1_is_the_harmonic_mean_of_precision_and_recall(answer: str, expected: str, f1: float) -> None:
    assert scoring.token_f1(answer, expected) == pytest.approx(f1)


def test_rouge_l_follows_the_longest_common_subsequence() -> None:
    # The example of Lin 2004, section 3: 3 of 4 words in the order of the reference, then 2 of 4.
    reference = "police killed the gunman"
    assert scoring.rouge_l(["police kill the gunman", "the gunman police killed", reference, ""], [reference] * 4) == pytest.approx([0.75, 0.5, 1.0, 0.0])


@pytest.mark.parametrize(
    ("retrieved", "hits", "mrr", "ndcg"),
    [
        (["a", "b"], (1.0, 1.0, 1.0), 1.0, 1.0),
        (["b", "a"], (0.0, 1.0, 1.0), 0.5, 1 / math.log2(3)),
        (["b", "b", "c", "b", "a"], (0.0, 1.0, 1.0), 1 / 3, 0.5),  # pages, not passages, are ranked
        (["b", "c", "d", "e", "a"], (0.0, 0.0, 1.0), 0.2, 1 / math.log2(6)),
        ([*"bcdefghijk", "a"], (0.0, 0.0, 0.0), 1 / 11, 0.0),  # the eleventh page
        (["b"], (0.0, 0.0, 0.0), 0.0, 0.0),
        ([], (0.0, 0.0, 0.0), 0.0, 0.0),
    ],
)
def test_retrieval_is_measured_by_the_rank_of_the_one_relevant_page(retrieved: list[str], hits: tuple[float, ...], mrr: float, ndcg: float) -> None:
    found = scoring.retrieval(retrieved, "a")
    assert (found["hit_at_1"], found["hit_at_3"], found["hit_at_5"]) == hits
    assert found["mrr"] == pytest.approx(mrr)
    assert found["ndcg_at_10"] == pytest.approx(ndcg)


def test_an_answer_has_at_least_one_sentence() -> None:
    assert comparison.sentences("Run it. Then look! Done") == ["Run it.", "Then look!", "Done"]
    assert comparison.sentences("") == [""]


def test_an_interval_holds_the_mean_and_shrinks_as_the_root_of_the_questions() -> None:
    few, many = (scoring.interval([1.0, 0.0] * half, 2000, 7) for half in (25, 400))
    assert few.value == many.value == 0.5
    assert (few.num, many.num) == (50, 800)
    widths = [(found.high or 0) - (found.low or 0) for found in (few, many)]
    assert widths[0] == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 50), rel=0.15)  # the normal approximation
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.15)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = [float(number % 3 == 0) * 0.7 for number in range(100)]
    assert scoring.interval(values, 500, 7) == scoring.interval(values, 500, 7) != scoring.interval(values, 500, 8)


def test_values_that_are_none_are_left_out_and_equal_ones_have_no_width() -> None:
    assert scoring.interval([None, 0.1, 0.1, None, 0.1], 200, 7) == Interval(value=0.1, low=0.1, high=0.1, num=3)


@pytest.mark.parametrize(("values", "num"), [([], 0), ([None, None], 0), ([1.0, math.nan], 2), ([1.0, math.inf], 2)])
def test_no_values_and_values_that_are_not_finite_have_no_mean(values: list[float | None], num: int) -> None:
    assert scoring.interval(values, 200, 7) == Interval(value=None, low=None, high=None, num=num)


def test_a_difference_is_paired_question_by_question() -> None:
    mine, theirs = [1.0, 0.0, None, 1.0] * 20, [0.5, -0.5, 0.0, None] * 20
    assert scoring.difference(mine, theirs, 200, 7) == Interval(value=0.5, low=0.5, high=0.5, num=40)
    with pytest.raises(ValueError, match="shorter"):
        scoring.difference([1.0], [], 200, 7)


def test_slices_are_named_by_dimension_and_value_and_a_row_without_the_value_is_in_none() -> None:
    rows: list[dict[str, Any]] = [
        {"style": "typo", "page": None, "exact_match": 0.0},
        {"style": "plain", "page": "a.md", "exact_match": 1.0},
        {"style": "typo", "page": "a.md", "exact_match": 1.0},
    ]
    found = scoring.by_slice(rows, ["style", "page"], 200, 7)
    assert {name: (met.value, met.num) for name, met in found.items()} == {"page:a.md": (1.0, 2), "style:plain": (1.0, 1), "style:typo": (0.5, 2)}
    assert list(found) == sorted(found)
