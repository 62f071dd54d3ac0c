import datetime
from pathlib import Path

import pytest

from pipelines.decision import gate_overrides
from pipelines.errors import UserError

CANDIDATE = "0123456789abcdef"


def test_an_override_holds_on_its_last_day_and_not_on_the_next(tmp_path: Path) -> None:
    path = tmp_path / "overrides.yaml"
    path.write_text(
        "- {candidate: 0123456789ab, rules: [champion], who: ada, why: first, until: 2030-01-31}\n"
    )
    assert len(gate_overrides.read(path, CANDIDATE, datetime.date(2030, 1, 31))) == 1
    assert gate_overrides.read(path, CANDIDATE, datetime.date(2030, 2, 1)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "- {candidate: 0123456789ab, rules: [champion], who: ada, why: first, until: soon}",
            "Invalid isoformat string: 'soon'",
        ),
        (
            "- {candidate: 0123456789ab, rules: [champion], who: ada, why: first}",
            "Invalid isoformat string: 'None'",
        ),
        (
            "- {candidate: 0123456789ab, rules: [champion], who: ada, until: 2030-01-31}",
            "why\n  Field required",
        ),
        (
            "- {candidate: 0123456789ab, rules: champion, who: ada, why: w, until: 2030-01-31}",
            "rules\n  Input should be a valid list",
        ),
        (
            "- {candidate: 0123456789ab, rules: [champion], who: ada, why: w, until: 2030-01-31,"
            " all: true}",
            "all\n  Extra inputs are not permitted",
        ),
        (
            "- {candidate: 0123456789a, rules: [champion], who: ada, why: w, until: 2030-01-31}",
            "candidate: '0123456789a' is too short: give at least 12 hex digits",
        ),
        (
            "- {candidate: 0123456789ab, rules: [champion], who: ' ', why: w, until: 2030-01-31}",
            "who, why: an override names its author and its reason",
        ),
        (
            "- {candidate: 0123456789ab, rules: [champion], who: ada, why: '', until: 2030-01-31}",
            "who, why: an override names its author and its reason",
        ),
        ("- champion", "is not a list of overrides"),
        ("candidate: 0123456789ab", "is not a list of overrides"),
        ("7", "is not a list of overrides"),
        ("- [", "is not a list of overrides: while parsing"),
    ],
)
def test_a_malformed_override_is_an_error_that_names_the_file(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "overrides.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        gate_overrides.read(path, CANDIDATE, datetime.date(2026, 1, 1))
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


def test_a_missing_file_names_its_remedy_and_an_empty_one_holds_no_overrides(
    tmp_path: Path,
) -> None:
    path = tmp_path / "overrides.yaml"
    with pytest.raises(UserError, match="overrides.yaml is missing: `git checkout "):
        gate_overrides.read(path, CANDIDATE, datetime.date(2026, 1, 1))
    path.write_text("# none\n")
    assert gate_overrides.read(path, CANDIDATE, datetime.date(2026, 1, 1)) == []


def test_an_override_in_force_that_names_an_unknown_rule_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "overrides.yaml"
    path.write_text(
        "- {candidate: 0123456789ab, rules: [floor exct_match, champion], who: ada, why: w, "
        "until: 2030-01-31}\n"
        "- {candidate: aaaaaaaaaaaa, rules: [speed], who: ada, why: w, until: 2030-01-31}\n"
    )
    rules = ["champion", "floor exact_match"]
    today = datetime.date(2030, 1, 31)
    assert gate_overrides.problems(path, rules, today) == [
        f"{path}: candidate 0123456789ab: rules: the gate has no rule 'floor exct_match', so "
        "nothing would be excused: did you mean 'floor exact_match'?",
        f"{path}: candidate aaaaaaaaaaaa: rules: the gate has no rule 'speed', so nothing would "
        "be excused: the rules are champion, floor exact_match",
    ]
    assert len(gate_overrides.problems(path, rules, today, CANDIDATE)) == 1
    assert gate_overrides.problems(path, rules, datetime.date(2030, 2, 1)) == []


def test_a_candidate_that_is_no_digest_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "overrides.yaml"
    path.write_text(
        "- {candidate: my-best-model, rules: [champion], who: a, why: w, until: 2030-01-31}"
    )
    with pytest.raises(UserError, match="candidate: 'my-best-model' is not made of hex digits"):
        gate_overrides.read(path, CANDIDATE, datetime.date(2030, 1, 31))
