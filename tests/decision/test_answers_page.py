import re
from typing import Any

from pipelines.contracts.scores import Interval, Scores, System
from pipelines.decision.answers_page import render_answers

HALF = Interval(value=0.5, low=0.4, high=0.6, num=2)
LOW = Interval(value=0.1, low=0.0, high=0.2, num=9)
NOT_MEASURED = Interval(value=None, low=None, high=None, num=0)
CANDIDATE = System(metrics={"exact_match": HALF}, slices={})
SCORES = Scores(
    candidate="0123456789abcdef",
    champion=None,
    num_questions=4,
    golden_digest="g",
    systems={"candidate": CANDIDATE},
    differences={},
)


def row(
    number: int, exact_match: float | None, token_f1: float | None, **changes: Any
) -> dict[str, Any]:
    """A row of answers.parquet."""
    facts = {
        "system": "candidate",
        "id": f"q-{number}",
        "question": f"Question {number}?",
        "answer": "An answer.",
        "expected": "Expected.",
        "kind": "faq",
        "style": "plain",
        "page": "a.md",
        "alternatives": [],
        "evidence": None,
        "refusal_recall": None,
        "retrieved": ["b.md", "b.md", "a.md", "c.md", "d.md"],
    }
    return facts | {"exact_match": exact_match, "token_f1": token_f1} | changes


def without_white_space_between_tags(page: str) -> str:
    return re.sub(r"(?<=>)\s+(?=<)", "", page)


def test_the_candidates_answers_are_worst_first_and_those_of_other_systems_are_left_out() -> None:
    rows = [
        row(1, 1.0, 1.0),
        row(2, 0.0, 0.8),
        row(3, 0.0, 0.1),
        row(4, 0.0, 0.1),
        row(5, 0.0, 0.0, system="base"),
    ]
    page = render_answers(rows, SCORES, {})
    assert re.findall(r"q-\d", page) == ["q-3", "q-4", "q-2", "q-1"]
    assert page.count('<tr class="bad">') == 3
    assert "Candidate 0123456789ab on 4 golden questions." in page
    assert "Champion" not in page


def test_metrics_of_all_systems_and_slices_lowest_first_are_shown_with_their_intervals() -> None:
    candidate = System(
        metrics={"exact_match": HALF, "refusal_recall": NOT_MEASURED},
        slices={"style:plain": HALF, "style:typo": LOW},
    )
    base = System(metrics={"exact_match": LOW, "refusal_recall": NOT_MEASURED}, slices={})
    systems = {"candidate": candidate, "base": base}
    scores = SCORES.model_copy(update={"champion": "r-1", "systems": systems})
    page = without_white_space_between_tags(render_answers([], scores, {}))
    assert (
        '<td>exact_match</td><td class="number">0.500 [0.400, 0.600]</td>'
        '<td class="number">0.100 [0.000, 0.200]</td>'
    ) in page
    assert '<td>refusal_recall</td><td class="number">-</td><td class="number">-</td>' in page
    assert page.index("style:typo") < page.index("style:plain")
    assert "Champion: r-1." in page


def test_what_people_and_models_wrote_is_shown_as_text_and_never_as_markup() -> None:
    answer = row(
        1,
        0.0,
        0.0,
        question="<script>alert(1)</script>",
        answer="<img src=x>",
        expected="a & b",
        retrieved=["<b>.md"],
    )
    page = render_answers([answer], SCORES, {})
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &amp; b" in page
    assert "&lt;b&gt;.md" in page


def test_the_first_three_pages_are_listed_once_each_with_the_expected_one_in_bold() -> None:
    page = without_white_space_between_tags(render_answers([row(1, 0.0, 0.0)], SCORES, {}))
    cell = page.split("<td>")[-1].split("</td>")[0]
    assert re.sub(r"\s", "", cell) == "b.md<br><b>a.md</b><br>c.md<br>"
    assert "d.md" not in page


def test_an_unanswerable_question_is_right_if_it_was_refused() -> None:
    rows = [
        row(1, None, None, kind="unanswerable", refusal_recall=1.0),
        row(2, None, None, kind="unanswerable", refusal_recall=0.0),
    ]
    page = render_answers(rows, SCORES, {})
    assert re.findall(r"q-\d", page) == ["q-2", "q-1"]
    assert page.count('<tr class="bad">') == page.count('<tr class="good">') == 1
    assert page.count('<td class="number">-</td>') == 2


def test_further_right_answers_the_evidence_and_the_shown_passages_are_there_to_compare() -> None:
    answer = row(1, 0.0, 0.0, alternatives=["Or this."], evidence="It says <this>.")
    page = render_answers([answer], SCORES, {"q-1": ["Title: first", "second"]})
    assert "<small>or Or this.</small>" in page
    assert "<summary>evidence</summary>It says &lt;this&gt;.</details>" in page
    assert re.findall(r'<p class="passage">(.*?)</p>', page) == ["Title: first", "second"]


def test_an_empty_answer_is_named() -> None:
    assert "(empty)" in render_answers([row(1, 0.0, 0.0, answer="")], SCORES, {})


def test_the_page_can_be_read_without_a_network() -> None:
    page = render_answers([row(1, 1.0, 1.0)], SCORES, {})
    assert page.startswith("<!doctype html>")
    assert re.findall(r"https?://|src=|href=|@import|url\(", page) == []
