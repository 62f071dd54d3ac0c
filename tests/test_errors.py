import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import (
    REPORT_VARIABLE,
    ErrorReport,
    Refusal,
    may_pass,
    read_report,
    signal_of,
    write_report,
)

ROOT = Path(__file__).parents[1]


def test_a_report_is_read_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "error.json"
    monkeypatch.setenv(REPORT_VARIABLE, str(path))

    write_report(Refusal("refused: 3 rows\n\nsee data/reports"), 1)

    assert read_report(path) == ErrorReport(1, "Refusal", "refused: 3 rows\n\nsee data/reports")


def test_the_report_of_a_crash_names_the_kind_of_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "error.json"
    monkeypatch.setenv(REPORT_VARIABLE, str(path))

    write_report(KeyError("chunks"), 1)

    assert read_report(path) == ErrorReport(1, "KeyError", "KeyError: 'chunks'")


def test_a_missing_or_half_written_report_is_none(tmp_path: Path) -> None:
    path = tmp_path / "error.json"
    assert read_report(path) is None
    path.write_text('{"exit_code": 1, "ki')
    assert read_report(path) is None


def test_a_command_that_fails_leaves_its_report_where_it_was_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "error.json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), REPORT_VARIABLE: str(path)}

    process = subprocess.run(
        [sys.executable, "-m", "pipelines", "check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )

    report = read_report(path)
    assert report is not None
    assert (report.exit_code, report.kind) == (process.returncode, "UserError")
    assert report.message in process.stderr


@pytest.mark.parametrize(
    ("exit_code", "number", "is_passing"),
    [
        (1, None, False),
        (75, None, True),
        (-9, 9, True),
        (-11, 11, True),
        (137, 9, True),
        (143, 15, True),
        (139, 11, False),
        (255, None, False),
    ],
)
def test_what_was_killed_or_says_so_may_pass(
    exit_code: int, number: int | None, is_passing: bool
) -> None:
    assert signal_of(exit_code) == number
    assert may_pass(exit_code) is is_passing
