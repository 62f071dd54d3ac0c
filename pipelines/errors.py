"""The errors that end a command with one readable message instead of a traceback."""

import json
import os
import shutil
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

LITTLE_SPACE = 64 << 20  # bytes

TRY_AGAIN = 75  # exit code, sysexits.h's EX_TEMPFAIL: the same command may work later
# Exit code of `checkout stage` and `checkout brief`: there was nothing to do. Airflow reads it so.
UNCHANGED = 99


class UserError(ValueError):
    """A mistake that the user can fix: the message names file, key, value and remedy."""


class Refusal(UserError):
    """A check said no, so the work is not started: the message says which check and why."""


class Unreachable(UserError):
    """Something outside did not answer, so the same command may work later (TRY_AGAIN)."""


def demand_none(problems: Iterable[str]) -> None:
    """Raise UserError with every problem, a line each; nothing if there is none."""
    lines = list(problems)
    if lines:
        raise UserError("\n".join(lines))


def note_of_a_full_disk() -> str:
    """A sentence if hardly any space is left on this folder's disk, otherwise nothing.

    torch, Weaviate and others report a full disk in words that do not say so.
    """
    free = shutil.disk_usage(".").free
    if free >= LITTLE_SPACE:
        return ""
    return (
        f"the disk is almost full ({free >> 20} MiB are left): if that is why, free some space; "
        "the same command continues"
    )


def invalid_yaml(path: Path, error: Exception) -> UserError:
    """One line with file, line and problem of a YAML (or decoding) error, and what to do."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    line = mark.line + 1 if mark else 1
    return UserError(
        f"{path}:{line}: is not valid YAML: {problem}. Look at this line and those above it"
    )


class ErrorReport(NamedTuple):
    """Why a command failed, as it tells the process that started it."""

    exit_code: int
    kind: str  # class of the error
    message: str


# Environment variable: the file in which a command that fails leaves its ErrorReport.
REPORT_VARIABLE = "PIPELINE_ERROR_FILE"


def write_report(error: BaseException, exit_code: int) -> None:
    """Write an ErrorReport if the process that started this command asked for one."""
    path = os.environ.get(REPORT_VARIABLE)
    if not path:
        return
    kind = type(error).__name__
    message = str(error) if isinstance(error, UserError) else f"{kind}: {error}"
    report = ErrorReport(exit_code, kind, f"{message}\n{note_of_a_full_disk()}".rstrip())
    # The error itself matters more than that it cannot be reported, on a full disk for example.
    with suppress(OSError):
        Path(path).write_text(json.dumps(report._asdict()), encoding="utf-8")


def read_report(path: Path) -> ErrorReport | None:
    """The report of a command that failed; None if it wrote none, since it was killed perhaps."""
    try:
        return ErrorReport(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def signal_of(exit_code: int) -> int | None:
    """The signal that ended a command; None if it ended by itself.

    Python gives the signal as a negative exit code, a shell as 128 + signal.
    """
    if exit_code < 0:
        return -exit_code
    if 128 < exit_code < 128 + signal.NSIG:
        return exit_code - 128
    return None


def may_pass(exit_code: int) -> bool:
    """Whether the same command may succeed later: it said so itself, or it was killed."""
    killed = exit_code < 0 or signal_of(exit_code) in (signal.SIGKILL, signal.SIGTERM)
    return exit_code == TRY_AGAIN or killed
