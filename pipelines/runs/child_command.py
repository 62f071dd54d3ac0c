"""Runs `python -m pipelines ...` in a checkout, which holds code of its own."""

import os
import subprocess
import sys
from pathlib import Path

from pipelines.errors import (
    REPORT_VARIABLE,
    ErrorReport,
    Unreachable,
    UserError,
    may_pass,
    read_report,
    signal_of,
)


def run(folder: Path, *arguments: str) -> None:
    """Run a command; its output is printed.

    Raises the command's own error: Unreachable if it may work later, else UserError.
    """
    report_file = new_report_file(folder, arguments[0])
    child = subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=folder,
        env={**os.environ, REPORT_VARIABLE: str(report_file)},
    )
    if child.returncode:
        command = f"python -m pipelines {arguments[0]}"
        raise explain(command, child.returncode, read_report(report_file))


def new_report_file(folder: Path, name: str) -> Path:
    """The file for the error report of a command that is about to run in this checkout."""
    path = folder.resolve() / f".state/errors/{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def explain(command: str, exit_code: int, report: ErrorReport | None) -> UserError:
    """The error of a command that failed, from its report if it left one."""
    if report:
        error = Unreachable if may_pass(report.exit_code) else UserError
        return error(report.message)
    error = Unreachable if may_pass(exit_code) else UserError
    number = signal_of(exit_code)
    if number:
        return error(f"{command} was killed by signal {number}")
    return error(f"{command} ended with exit code {exit_code}; its output is above")
