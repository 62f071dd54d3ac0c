"""Knows how to say where a YAML file is broken, in one line."""

from pathlib import Path

from pipelines.errors import UserError


def no_yaml(path: Path, error: Exception) -> UserError:
    """File, line, what the parser (or the decoding before it) met, remedy."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error).splitlines()[0]
    return UserError(f"{path}:{mark.line + 1 if mark else 1}: is not valid YAML: {problem}. Look at this line and those above it")
