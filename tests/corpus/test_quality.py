from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.contracts.report import Check
from pipelines.corpus.quality import Promise, examine
from pipelines.errors import Refusal

BETWEEN = "ExpectColumnValuesToBeBetween"
UNIQUE = "ExpectColumnValuesToBeUnique"
FILLED = "ExpectColumnValuesToNotBeNull"
MEMBER = "ExpectColumnValuesToBeInSet"
NUM_ROWS = "ExpectTableRowCountToBeBetween"
MINIMUM = "ExpectColumnMinToBeBetween"
SIZE_1_TO_9 = {"column": "size", "min_value": 1, "max_value": 9}
SIZE_FROM_0 = {"column": "size", "min_value": 0}
ROWS = pd.DataFrame(
    {
        "uri": ["book/e", "book/d", "book/c", "book/b", "book/a"],
        "size": [0, 1, 2, 3, 40],
        "title": [None, None, None, None, "A"],
        "digest": ["x", "y", "y", "z", "v"],
    }
)


@pytest.mark.parametrize(
    ("expectation", "arguments", "expected", "examples"),
    [
        (BETWEEN, SIZE_1_TO_9, "min_value 1, max_value 9", ["book/a", "book/e"]),
        (UNIQUE, {"column": "digest"}, "every row", ["book/c", "book/d"]),
        (
            MEMBER,
            {"column": "digest", "value_set": ["x", "y"]},
            "value_set ['x', 'y']",
            ["book/a", "book/b"],
        ),
    ],
)
def test_a_broken_promise_says_how_many_rows_break_it_and_names_them(
    expectation: str, arguments: dict[str, Any], expected: str, examples: list[str]
) -> None:
    report = examine(ROWS, [Promise("it", expectation, arguments)], "rows")
    check = Check(
        name="it",
        passed=False,
        observed="2 of 5 rows break it",
        expected=expected,
        num_rows=2,
        examples=examples,
    )
    assert report.checks == [check]
    reason = f"1 of 1 checks failed: it: 2 of 5 rows break it, expected {expected}"
    assert report.reason == reason
    assert not report.passed


def test_a_broken_promise_names_at_most_three_rows() -> None:
    report = examine(ROWS, [Promise("it", FILLED, {"column": "title"})], "rows")
    check = Check(
        name="it",
        passed=False,
        observed="4 of 5 rows break it",
        expected="every row",
        num_rows=4,
        examples=["book/b", "book/c", "book/d"],
    )
    assert report.checks == [check]
    assert report.reason == "1 of 1 checks failed: it: 4 of 5 rows break it, expected every row"


@pytest.mark.parametrize(
    ("expectation", "arguments", "observed", "expected"),
    [
        (NUM_ROWS, {"min_value": 6, "max_value": None}, "5", "min_value 6"),
        (MINIMUM, {"column": "size", "min_value": 1}, "0", "min_value 1"),
    ],
)
def test_a_broken_promise_about_the_whole_table_says_what_was_observed(
    expectation: str, arguments: dict[str, Any], observed: str, expected: str
) -> None:
    report = examine(ROWS, [Promise("it", expectation, arguments)], "rows")
    check = Check(name="it", passed=False, observed=observed, expected=expected)
    assert report.checks == [check]
    assert report.reason == f"1 of 1 checks failed: it: {observed}, expected {expected}"
    assert not report.passed


def test_a_check_has_the_code_of_its_promise() -> None:
    promise = Promise("number", NUM_ROWS, {"min_value": 1}, code="num_rows")
    (check,) = examine(ROWS, [promise], "rows").checks
    assert check.code == "num_rows"


@pytest.mark.parametrize(("share", "passed"), [(0.6, True), (0.61, False)])
def test_a_promise_about_a_share_is_kept_from_that_share_on_and_counts_its_exceptions(
    share: float, passed: bool
) -> None:
    report = examine(ROWS, [Promise("sizes", BETWEEN, SIZE_1_TO_9, share)], "rows")
    check = Check(
        name="sizes",
        passed=passed,
        observed="2 of 5 rows break it",
        expected=f"at least {share:.1%} of rows",
        num_rows=2,
        examples=["book/a", "book/e"],
    )
    assert report.checks == [check]
    assert report.passed == passed


def test_checks_are_in_the_order_of_the_promises_and_only_broken_ones_in_the_reason() -> None:
    promises = [
        Promise("late", UNIQUE, {"column": "digest"}),
        Promise("kept", BETWEEN, SIZE_FROM_0),
        Promise("early", FILLED, {"column": "title"}),
    ]
    report = examine(ROWS, promises, "rows")
    outcomes = [(check.name, check.passed) for check in report.checks]
    assert outcomes == [("late", False), ("kept", True), ("early", False)]
    assert report.reason == (
        "2 of 3 checks failed: late: 2 of 5 rows break it, expected every row; "
        "early: 4 of 5 rows break it, expected every row"
    )


@pytest.mark.parametrize(
    ("expectation", "arguments", "exception"),
    [
        (UNIQUE, {"column": "missing"}, 'Error: The column "missing" in BatchData does not exist.'),
        (
            MINIMUM,
            {"column": "missing", "min_value": 1},
            'Error: The column "missing" in BatchData does not exist.',
        ),
        (
            BETWEEN,
            {"column": "digest", "min_value": 1},
            "Column values, min_value, and max_value must either be None or of the same type.",
        ),
        (
            NUM_ROWS,
            {"min_value": 5, "max_value": 4},
            "min_value (5) must be less than or equal to max_value (4)",
        ),
    ],
)
def test_an_expectation_that_cannot_be_evaluated_is_a_failed_check_beside_the_others(
    expectation: str, arguments: dict[str, Any], exception: str
) -> None:
    promises = [
        Promise("it", expectation, arguments),
        Promise("neighbour", BETWEEN, SIZE_FROM_0),
    ]
    report = examine(ROWS, promises, "rows")
    failure, neighbour = report.checks
    assert not failure.passed
    assert failure.observed.startswith("could not be evaluated: ")
    assert exception in failure.observed
    assert neighbour.passed
    with pytest.raises(Refusal, match="it: could not be evaluated: "):
        report.demand("the validation", "Fix it")


def test_no_rows_at_all_do_not_pass() -> None:
    promises = [
        Promise("number", NUM_ROWS, {"min_value": 1}),
        Promise("sizes", BETWEEN, SIZE_FROM_0),
    ]
    report = examine(pd.DataFrame(), promises, "rows")
    assert [check.passed for check in report.checks] == [False, False]
    assert report.checks[0].observed == "0"


def test_no_promises_at_all_do_not_pass() -> None:
    report = examine(ROWS, [], "rows")
    assert (report.passed, report.reason) == (False, "nothing was checked")


def test_data_docs_replace_the_older_ones_and_show_the_broken_promise(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/old.html").write_text("old")
    examine(ROWS, [Promise("sizes", BETWEEN, SIZE_1_TO_9)], "rows", docs=tmp_path / "docs")
    assert not (tmp_path / "docs/old.html").exists()
    assert "validations" in (tmp_path / "docs/index.html").read_text()
    (path,) = (tmp_path / "docs/validations").rglob("*.html")
    page = path.read_text()
    assert "greater than or equal to" in page
    assert "book/e" in page
    assert [entry.name for entry in tmp_path.iterdir()] == ["docs"]
