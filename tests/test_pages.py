import re
from typing import Any

from pipelines import pages
from pipelines.contracts.scores import Interval, Scores, System

GOOD, NONE = Interval(value=0.5, low=0.4, high=0.6, num=2), Interval(value=None, low=None, high=None, num=0)


def row(number: int, exact_match: float, token_f1: float, **changed: Any) -> dict[str, Any]:
    good = {"system": "candidate", "id": f"q-{number}", "question": f"Question {number}?", "answer": "An answer.", "expected": "Expected.", "kind": "faq", "style": "plain", "page": "a.md"}
    return good | {"retrieved": ["b.md", "b.md", "a.md", "c.md", "d.md"], "exact_match": exact_match, "token_f1": token_f1} | changed


def test_the_candidates_answers_stand_worst_first_and_other_systems_answers_not_at_all() -> None:
    scores = Scores(candidate="0123456789abcdef", champion=None, num_questions=4, golden_digest="g", systems={"candidate": System(metrics={"exact_match": GOOD}, slices={})}, differences={})
    page = pages.answers([row(1, 1.0, 1.0), row(2, 0.0, 0.8), row(3, 0.0, 0.1), row(4, 0.0, 0.1), row(5, 0.0, 0.0, system="base")], scores)
    assert re.findall(r"q-\d", page) == ["q-3", "q-4", "q-2", "q-1"]
    assert page.count('<tr class="bad">') == 3
    assert "Candidate 0123456789ab on 4 golden questions." in page
    assert "Champion" not in page


def test_metrics_of_all_systems_and_slices_lowest_first_are_shown_with_their_intervals() -> None:
    low = Interval(value=0.1, low=0.0, high=0.2, num=9)
    candidate = System(metrics={"exact_match": GOOD, "refusal_recall": NONE}, slices={"style:plain": GOOD, "style:typo": low})
    base = System(metrics={"exact_match": low, "refusal_recall": NONE}, slices={})
    page = pages.answers([], Scores(candidate="c", champion="r-1", num_questions=2, golden_digest="g", systems={"candidate": candidate, "base": base}, differences={}))
    assert '<td>exact_match</td><td class="number">0.500 [0.400, 0.600]</td><td class="number">0.100 [0.000, 0.200]</td>' in page
    assert '<td>refusal_recall</td><td class="number">-</td><td class="number">-</td>' in page
    assert page.index("style:typo") < page.index("style:plain")
    assert "Champion: r-1." in page


def test_what_people_and_models_wrote_is_shown_as_text_and_never_as_markup() -> None:
    scores = Scores(candidate="c", champion=None, num_questions=1, golden_digest="g", systems={"candidate": System(metrics={"exact_match": GOOD}, slices={})}, differences={})
    page = pages.answers([row(1, 0.0, 0.0, question="<script>alert(1)</script>", answer="<img src=x>", expected="a & b", retrieved=["<b>.md"])], scores)
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &amp; b" in page
    assert "&lt;b&gt;.md" in page


def test_the_first_three_pages_are_shown_once_each_with_the_expected_one_marked_and_an_empty_answer_is_named() -> None:
    scores = Scores(candidate="c", champion=None, num_questions=1, golden_digest="g", systems={"candidate": System(metrics={"exact_match": GOOD}, slices={})}, differences={})
    page = pages.answers([row(1, 0.0, 0.0, answer="")], scores)
    assert "<td>b.md<br><b>a.md</b><br>c.md<br></td>" in page
    assert "d.md" not in page
    assert "(empty)" in page


def test_the_page_can_be_read_without_a_network() -> None:
    scores = Scores(candidate="c", champion=None, num_questions=1, golden_digest="g", systems={"candidate": System(metrics={"exact_match": GOOD}, slices={})}, differences={})
    page = pages.answers([row(1, 1.0, 1.0)], scores)
    assert page.startswith("<!doctype html>")
    assert re.findall(r"https?://|src=|href=|@import|url\(", page) == []
