"""Git: one call, its output, and an error that quotes what Git said."""

import os
import subprocess
from pathlib import Path

from pipelines.errors import UserError

COMMITTER = "pipeline"  # author of the commits on the branches of runs
AS_PIPELINE = (
    *("-c", f"user.name={COMMITTER}"),
    *("-c", "user.email=pipeline@localhost"),
    *("-c", "commit.gpgsign=false"),
    *("-c", "core.hooksPath=/dev/null"),
)


def call(
    *arguments: str,
    folder: Path = Path(),
    stdin: str | None = None,
    environment: dict[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """The finished call, for callers that expect that Git may refuse."""
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **(environment or {})},
    )


def call_bytes(
    *arguments: str,
    folder: Path = Path(),
    environment: dict[str, str] | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Like `call`, for output that need not be UTF-8: contents and names of files."""
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        env={**os.environ, **(environment or {})},
    )


def output(
    *arguments: str,
    folder: Path = Path(),
    stdin: str | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """What Git printed, without the last line end. Raises UserError with Git's own words."""
    answer = call(*arguments, folder=folder, stdin=stdin, environment=environment)
    if answer.returncode:
        reason = (answer.stderr or answer.stdout).strip()
        raise UserError(f"git {' '.join(arguments)} in {folder.resolve()} failed: {reason}")
    return answer.stdout.rstrip("\n")


def file_at(revision: str, path: str, folder: Path = Path()) -> str | None:
    """The text of a file at a revision; None if it is not there."""
    answer = call("show", f"{revision}:{path}", folder=folder)
    return answer.stdout if answer.returncode == 0 else None


def commit_of(name: str, folder: Path = Path()) -> str | None:
    """The commit that a branch, tag or abbreviated id names; None if there is none."""
    answer = call("rev-parse", "--quiet", "--verify", f"{name}^{{commit}}", folder=folder)
    return answer.stdout.strip() if answer.returncode == 0 else None
