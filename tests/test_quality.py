from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.contracts.report import Check
from pipelines.errors import Refusal
from pipelines.quality import Promise, examine

BETWEEN, UNIQUE, FILLED, MEMBER = "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeUnique", "ExpectColumnValuesToNotBeNull", "ExpectColumnValuesToBeInSet"
ROWS = pd.DataFrame(
    {
        "uri": ["book/e", "book/d", "book/c", "book/b", "book/a"],
        "size": [0, 1, 2, 3, 40],
        "title": [None, None, None, None, "A"],
        "digest": ["x", "y", "y", "z", "v"],
    }
)


@pytest.mark.parametrize(
    ("expectation", "arguments", "observed", "expected", "num_rows", "examples"),
    [
        (BETWEEN, {"column": "size", "min_value": 1, "max_value": 9}, "2 of 5 rows break it", "min_value 1, max_value 9", 2, ["book/a", "book/e"]),
        (UNIQUE, {"column": "digest"}, "2 of 5 rows break it", "every row", 2, ["book/c", "book/d"]),
        (FILLED, {"column": "title"}, "4 of 5 rows break it", "every row", 4, ["book/b", "book/c", "book/d"]),
        (MEMBER, {"column": "digest", "value_set": ["x", "y"]}, "2 of 5 rows break it", "value_set ['x', 'y']", 2, ["book/a", "book/b"]),
        ("ExpectTableRowCountToBeBetween", {"min_value": 6, "max_value": None}, "5", "min_value 6", 0, []),
        ("ExpectColumnMinToBeBetween", {"column": "size", "min_value": 1}, "0", "min_value 1", 0, []),
    ],
)
def test_a_broken_promise_says_how_many_rows_break_it_and_names_at_most_three(expectation: str, arguments: dict[str, Any], observed: str, expected: str, num_rows: int, examples: list[str]) -> None:
    report = examine(ROWS, [Promise("it", expectation, arguments)], "rows")
    assert report.checks == [Check(name="it", passed=False, observed=observed, expected=expected, num_rows=num_rows, examples=examples)]
    assert report.reason == f"1 of 1 checks failed: it: {observed}, expected {expected}"
    assert not report.passed


@pytest.mark.parametrize(("share", "passed"), [(0.6, True), (0.61, False)])
def test_a_promise_about_a_share_is_kept_from_that_share_on_and_counts_its_exceptions_either_way(share: float, passed: bool) -> None:
    report = examine(ROWS, [Promise("sizes", BETWEEN, {"column": "size", "min_value": 1, "max_value": 9}, share)], "rows")
    (check,) = report.checks
    assert (check.passed, report.passed) == (passed, passed)
    assert (check.observed, check.expected) == ("2 of 5 rows break it", f"at least {share:.1%} of rows")
    assert (check.num_rows, check.examples) == (2, ["book/a", "book/e"])


def test_checks_come_in_the_order_of_the_promises_and_only_the_broken_ones_are_in_the_reason() -> None:
    kept = Promise("kept", BETWEEN, {"column": "size", "min_value": 0})
    report = examine(ROWS, [Promise("late", UNIQUE, {"column": "digest"}), kept, Promise("early", FILLED, {"column": "title"})], "rows")
    assert [(check.name, check.passed) for check in report.checks] == [("late", False), ("kept", True), ("early", False)]
    assert report.reason == "2 of 3 checks failed: late: 2 of 5 rows break it, expected every row; early: 4 of 5 rows break it, expected every row"


@pytest.mark.parametrize(
    ("expectation", "arguments", "exception"),
    [
        (UNIQUE, {"column": "missing"}, 'Error: The column "missing" in BatchData does not exist.'),
        ("ExpectColumnMinToBeBetween", {"column": "missing", "min_value": 1}, 'Error: The column "missing" in BatchData does not exist.'),
        (BETWEEN, {"column": "digest", "min_value": 1}, "Column values, min_value, and max_value must either be None or of the same type."),
        ("ExpectTableRowCountToBeBetween", {"min_value": 5, "max_value": 4}, "min_value (5) must be less than or equal to max_value (4)"),
    ],
)
def test_an_expectation_that_cannot_be_evaluated_is_a_failed_check_with_the_reason_beside_the_others(expectation: str, arguments: dict[str, Any], exception: str) -> None:
    report = examine(ROWS, [Promise("it", expectation, arguments), Promise("other", BETWEEN, {"column": "size", "min_value": 0})], "rows")
    it, other = report.checks
    assert not it.passed
    assert it.observed.startswith("could not be evaluated: ")
    assert exception in it.observed
    assert other.passed
    with pytest.raises(Refusal, match="it: could not be evaluated: "):
        report.demand("the validation", "Mend it")


def test_no_rows_at_all_do_not_pass() -> None:
    report = examine(pd.DataFrame(), [Promise("number", "ExpectTableRowCountToBeBetween", {"min_value": 1}), Promise("sizes", BETWEEN, {"column": "size", "min_value": 0})], "rows")
    assert [check.passed for check in report.checks] == [False, False]
    assert report.checks[0].observed == "0"


def test_no_promises_at_all_do_not_pass() -> None:
    report = examine(ROWS, [], "rows")
    assert (report.passed, report.reason) == (False, "nothing was checked")


def test_data_docs_replace_the_older_ones_and_show_the_broken_promise(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/old.html").write_text("old")
    examine(ROWS, [Promise("sizes", BETWEEN, {"column": "size", "min_value": 1, "max_value": 9})], "rows", docs=tmp_path / "docs")
    assert not (tmp_path / "docs/old.html").exists()
    assert "validations" in (tmp_path / "docs/index.html").read_text()
    (page,) = (tmp_path / "docs/validations").rglob("*.html")
    shown = page.read_text()
    assert "greater than or equal to" in shown
    assert "book/e" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]
