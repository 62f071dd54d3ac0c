import math
from typing import Any

import pytest

from pipelines.contracts.answers import METRICS, SLICES
from pipelines.contracts.scores import Interval
from pipelines.decision import scoring
from pipelines.decision.scoring import Bootstrap


def test_answers_are_compared_without_case_articles_punctuation_and_surplus_space() -> None:
    assert scoring.exact_match("Run the gate!", "run  gate") == 1.0
    assert scoring.exact_match("Run the gate again", "run gate") == 0.0
    assert scoring.exact_match("", "run gate") == 0.0


@pytest.mark.parametrize(
    ("answer", "target", "f1"),
    [
        ("run make test", "run make test", 1.0),
        ("run make", "run make test now", 2 * 1 * 0.5 / 1.5),  # precision 2/2, recall 2/4
        # A word counts as often as the target has it.
        ("run run run", "run make", 2 * (1 / 3) * 0.5 / (1 / 3 + 0.5)),
        ("something else", "run make", 0.0),
        ("", "run make", 0.0),
    ],
)
def test_token_f1_is_the_harmonic_mean_of_precision_and_recall(
    answer: str, target: str, f1: float
) -> None:
    assert scoring.token_f1(answer, target) == pytest.approx(f1)


def test_rouge_l_follows_the_longest_common_subsequence() -> None:
    # The example of Lin 2004, section 3: 3 of 4 words in the order of the target, then 2 of 4.
    target = "police killed the gunman"
    answers = ["police kill the gunman", "the gunman police killed", target, ""]
    assert scoring.rouge_l(answers, [target] * 4) == pytest.approx([0.75, 0.5, 1.0, 0.0])


@pytest.mark.parametrize(
    ("uris", "hits", "mrr", "ndcg"),
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
def test_retrieval_is_measured_by_the_rank_of_the_one_relevant_page(
    uris: list[str], hits: tuple[float, ...], mrr: float, ndcg: float
) -> None:
    metrics = scoring.retrieval(uris, {"a"})
    assert (metrics["hit_at_1"], metrics["hit_at_3"], metrics["hit_at_5"]) == hits
    assert metrics["mrr"] == pytest.approx(mrr)
    assert metrics["ndcg_at_10"] == pytest.approx(ndcg)


def test_the_first_of_several_relevant_pages_counts() -> None:
    metrics = scoring.retrieval(["x", "b", "a"], {"a", "b"})
    assert (metrics["hit_at_1"], metrics["hit_at_3"], metrics["mrr"]) == (0.0, 1.0, 0.5)


def test_the_nearest_of_several_right_answers_counts() -> None:
    answers = ["by the gate", "the gate refuses it"]
    assert scoring.best_of(scoring.exact_match, "The gate refuses it!", answers) == 1.0
    assert scoring.best_of(scoring.token_f1, "gate", answers) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("answer", "is_contained"),
    [
        ("It keeps the last 3 collections.", 1.0),
        ("last 3", 1.0),
        ("It keeps the last 30.", 0.0),
        ("3 are the last.", 0.0),
        ("", 0.0),
    ],
)
def test_an_answer_contains_another_if_all_its_words_follow_one_another(
    answer: str, is_contained: float
) -> None:
    assert scoring.contains_answer(answer, "the last 3") == is_contained


def test_an_interval_holds_the_mean_and_shrinks_as_the_root_of_the_questions() -> None:
    small = scoring.interval([1.0, 0.0] * 25, Bootstrap(2000, 7))
    large = scoring.interval([1.0, 0.0] * 400, Bootstrap(2000, 7))
    assert small.value == large.value == 0.5
    assert (small.num, large.num) == (50, 800)
    normal_approximation = 2 * 1.96 * math.sqrt(0.25 / 50)
    assert width(small) == pytest.approx(normal_approximation, rel=0.15)
    assert width(small) / width(large) == pytest.approx(4, rel=0.15)


def width(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = [float(number % 3 == 0) * 0.7 for number in range(100)]
    interval = scoring.interval(values, Bootstrap(500, 7))
    assert interval == scoring.interval(values, Bootstrap(500, 7))
    assert interval != scoring.interval(values, Bootstrap(500, 8))


def test_values_that_are_none_are_left_out_and_equal_ones_have_no_width() -> None:
    interval = scoring.interval([None, 0.1, 0.1, None, 0.1], Bootstrap(200, 7))
    assert interval == Interval(value=0.1, low=0.1, high=0.1, num=3)


@pytest.mark.parametrize(
    ("values", "num"), [([], 0), ([None, None], 0), ([1.0, math.nan], 2), ([1.0, math.inf], 2)]
)
def test_no_values_and_values_that_are_not_finite_have_no_mean(
    values: list[float | None], num: int
) -> None:
    interval = scoring.interval(values, Bootstrap(200, 7))
    assert interval == Interval(value=None, low=None, high=None, num=num)


def test_a_difference_is_paired_question_by_question() -> None:
    minuends = [1.0, 0.0, None, 1.0] * 20
    subtrahends = [0.5, -0.5, 0.0, None] * 20
    interval = scoring.difference(minuends, subtrahends, Bootstrap(200, 7))
    assert interval == Interval(value=0.5, low=0.5, high=0.5, num=40)
    with pytest.raises(ValueError, match="shorter"):
        scoring.difference([1.0], [], Bootstrap(200, 7))


def test_slices_are_named_by_dimension_and_value_and_a_row_without_the_value_is_in_none() -> None:
    rows: list[dict[str, Any]] = [
        {"style": "typo", "page": None, "exact_match": 0.0},
        {"style": "plain", "page": "a.md", "exact_match": 1.0},
        {"style": "typo", "page": "a.md", "exact_match": 1.0},
    ]
    slices = scoring.by_slice(rows, ["style", "page"], Bootstrap(200, 7))
    assert list(slices) == ["page:a.md", "style:plain", "style:typo"]
    assert (slices["page:a.md"].value, slices["page:a.md"].num) == (1.0, 2)
    assert (slices["style:plain"].value, slices["style:plain"].num) == (1.0, 1)
    assert (slices["style:typo"].value, slices["style:typo"].num) == (0.5, 2)


def test_a_summary_has_each_systems_metrics_and_its_difference_from_the_candidate() -> None:
    columns: dict[str, Any] = dict.fromkeys(METRICS) | dict.fromkeys(SLICES)
    columns |= {"kind": "faq", "style": "s", "topic": "t"}
    rows: list[dict[str, Any]] = [
        columns | {"system": "candidate", "id": "a", "exact_match": 1.0},
        columns | {"system": "candidate", "id": "b", "exact_match": 1.0},
        columns | {"system": "base", "id": "a", "exact_match": 0.5},
        columns | {"system": "base", "id": "b", "exact_match": 0.5},
    ]
    subject = scoring.Subject(candidate="c", champion=None, golden_digest="g")
    scores = scoring.summarize(rows, subject, Bootstrap(200, 7))
    assert (scores.candidate, scores.champion, scores.num_questions) == ("c", None, 2)
    assert scores.values("candidate") == {"exact_match": 1.0}
    assert scores.values("base") == {"exact_match": 0.5}
    assert list(scores.systems["base"].slices) == ["kind:faq", "style:s", "topic:t"]
    assert list(scores.differences) == ["base"]
    half = Interval(value=0.5, low=0.5, high=0.5, num=2)
    assert scores.differences["base"]["exact_match"] == half


def test_an_interval_grows_with_questions_that_are_right_or_wrong_together() -> None:
    values = [1.0] * 50 + [0.0] * 50
    alone = scoring.interval(values, Bootstrap(2000, 7))
    topics = [f"topic {number // 5}" for number in range(100)]
    together = scoring.interval(values, Bootstrap(2000, 7), topics)
    assert together.value == alone.value == 0.5
    width = alone.high - alone.low  # type: ignore[operator]
    assert together.high - together.low == pytest.approx(width * 5**0.5, rel=0.15)  # type: ignore[operator]


def test_wordings_of_a_topic_and_questions_about_a_page_are_clusters_refusals_are_not() -> None:
    question = {"kind": "faq", "topic": "gate", "page": "gate.md", "id": "gate-1"}
    assert scoring.cluster_of(question) == "topic gate"
    assert scoring.cluster_of({**question, "kind": "document"}) == "page gate.md"
    assert scoring.cluster_of({**question, "kind": "unanswerable"}) == "page gate.md"
    assert scoring.cluster_of({**question, "kind": "hostile", "page": None}) == "question gate-1"


def test_a_system_that_was_asked_a_sample_is_compared_on_its_questions() -> None:
    columns: dict[str, Any] = dict.fromkeys(METRICS) | dict.fromkeys(SLICES)
    columns |= {"kind": "faq", "style": "s", "topic": "t"}
    rows: list[dict[str, Any]] = []
    for number in range(4):
        rows.append(
            columns
            | {"system": "candidate", "id": f"{number}", "page": None, "exact_match": number / 4}
        )
    rows.append(columns | {"system": "base", "id": "3", "exact_match": 0.5})
    subject = scoring.Subject(candidate="c", champion=None, golden_digest="g")
    scores = scoring.summarize(rows, subject, Bootstrap(200, 7))
    assert scores.differences["base"]["exact_match"].value == 0.25
    assert scores.differences["base"]["exact_match"].num == 1
