import pytest
from pydantic import ValidationError

from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.errors import Refusal, UserError


def test_a_report_passes_if_every_check_passed() -> None:
    checks = [Check(name="text is not empty", passed=True, observed="0 rows", expected="0 rows")]
    assert Report.of(checks) == Report(passed=True, reason="all 1 checks passed", checks=checks)


def test_a_report_without_checks_does_not_pass() -> None:
    assert Report.of([]) == Report(passed=False, reason="nothing was checked", checks=[])


def test_one_failed_check_fails_the_report_and_the_reason_names_that_check_alone() -> None:
    good = Check(name="uri is unique", passed=True, observed="0 rows", expected="0 rows")
    bad = Check(name="text is not empty", passed=False, observed="3 of 120 rows", expected="0 rows")
    report = Report.of([good, bad])
    assert not report.passed
    reason = "1 of 2 checks failed: text is not empty: 3 of 120 rows, expected 0 rows"
    assert report.reason == reason
    assert report.failures() == [bad]


def test_demand_is_silent_if_passed_and_refuses_with_remedy_rows_and_three_examples_otherwise() -> (
    None
):
    good = Check(name="uri is unique", passed=True, observed="0 rows", expected="0 rows")
    bad = Check(
        name="text is not empty",
        passed=False,
        observed="4 of 120 rows",
        expected="0 rows",
        num_rows=4,
        examples=["a.md", "b.md", "c.md", "d.md"],
    )
    low = Check(
        name="documents are in English",
        passed=False,
        observed="80 %",
        expected="at least 90 %",
        num_rows=24,
    )
    Report.of([good]).demand("data/documents.parquet", "Fix the files.")
    with pytest.raises(Refusal) as caught:
        Report.of([good, bad, low]).demand("data/documents.parquet", "Fix the files.")
    assert str(caught.value).splitlines() == [
        "refused: data/documents.parquet did not pass. Fix the files.",
        "  - text is not empty: 4 of 120 rows, expected 0 rows e.g. a.md, b.md, c.md",
        "  - documents are in English: 80 % (24 rows), expected at least 90 %",
    ]


def test_demand_adds_a_checks_own_remedy_in_a_line_of_its_own() -> None:
    check = Check(name="a", passed=False, observed="1", expected="0", remedy="Lower b.")
    with pytest.raises(Refusal) as caught:
        Report.of([check]).demand("c", "Nothing changes.")
    assert str(caught.value).splitlines()[1:] == ["  - a: 1, expected 0", "    Lower b."]


def test_demand_on_an_empty_report_says_that_nothing_was_checked() -> None:
    with pytest.raises(Refusal) as caught:
        Report.of([]).demand("data/examples.parquet", "Run `dvc repro`.")
    assert str(caught.value).splitlines() == [
        "refused: data/examples.parquet did not pass. Run `dvc repro`.",
        "  - nothing was checked",
    ]


def test_a_report_survives_json_and_takes_no_unknown_key_and_no_change() -> None:
    check = Check(
        name="a",
        passed=False,
        observed="1",
        expected="0",
        num_rows=1,
        examples=["x"],
        code=CheckCode.SAME_TOKENS,
        remedy="Lower b.",
    )
    report = Report.of([check])
    assert Report.model_validate_json(report.model_dump_json()) == report
    with pytest.raises(ValidationError, match="surprise"):
        Report.model_validate({"passed": True, "reason": "", "checks": [], "surprise": 1})
    with pytest.raises(ValidationError, match="frozen"):
        report.passed = True


def test_a_check_is_found_by_its_code_whatever_its_name_is() -> None:
    by_answers = Check(
        name="x", passed=True, observed="9 of 10", expected="", code=CheckCode.SAME_ANSWERS
    )
    by_tokens = Check(
        name="x", passed=True, observed="8 of 10", expected="", code=CheckCode.SAME_TOKENS
    )
    report = Report.of([by_answers, by_tokens])
    copy = Report.model_validate_json(report.model_dump_json())
    assert report.check(CheckCode.SAME_TOKENS) == by_tokens
    assert copy.check(CheckCode.SAME_ANSWERS) == by_answers


def test_a_missing_code_is_an_error_that_lists_the_checks() -> None:
    check = Check(name="uri is unique", passed=True, observed="0 rows", expected="0 rows")
    with pytest.raises(UserError, match=r"no check with the code `same_tokens` \(it has: uri is u"):
        Report.of([check]).check(CheckCode.SAME_TOKENS)
    with pytest.raises(UserError, match=r"\(it has: no checks\)"):
        Report.of([]).check(CheckCode.SAME_TOKENS)


def test_a_check_without_code_and_remedy_is_stored_as_before_there_were_any() -> None:
    check = Check(name="a", passed=True, observed="1", expected="0")
    assert check.model_dump(mode="json") == {
        "name": "a",
        "passed": True,
        "observed": "1",
        "expected": "0",
        "num_rows": 0,
        "examples": [],
    }
