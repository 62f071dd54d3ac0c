"""Git as this package needs it: one call, its output, and an error that quotes Git."""

import subprocess
from pathlib import Path

from pipelines.errors import UserError

NAME = "pipeline"  # author of the commits on the branches of runs
AUTHOR = ("-c", f"user.name={NAME}", "-c", "user.email=pipeline@localhost", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null")


def git(folder: Path, *arguments: str) -> str:
    """Output of `git ...` in `folder`, without its last line end. Raises UserError with what Git said."""
    done = call(folder, *arguments)
    if done.returncode:
        raise UserError(f"git {' '.join(arguments)} in {folder} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout.rstrip("\n")


def call(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The finished call, for callers that expect a refusal."""
    return subprocess.run(["git", "-C", str(folder), *AUTHOR, *arguments], capture_output=True, text=True)


def show(folder: Path, revision: str, path: str) -> str | None:
    """A file at a revision; None where it is not there."""
    done = call(folder, "show", f"{revision}:{path}")
    return done.stdout if done.returncode == 0 else None
