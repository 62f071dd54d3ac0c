from pathlib import Path

import pytest

from pipelines.errors import Unreachable, UserError
from pipelines.runs import child_command

FAIL = """
import sys
from pipelines.errors import {error}, write_report

write_report({error}("Weaviate does not answer"), {exit_code})
sys.exit({exit_code})
"""


def write_program(folder: Path, code: str) -> None:
    """A checkout whose `python -m pipelines` runs this code; only errors.py is the real one."""
    (folder / "pipelines").mkdir()
    # A package without it would lose against the one that PYTHONPATH names.
    (folder / "pipelines/__init__.py").touch()
    (folder / "pipelines/__main__.py").write_text(code)
    errors = Path(__file__).parents[2] / "pipelines/errors.py"
    (folder / "pipelines/errors.py").write_text(errors.read_text())


@pytest.mark.parametrize(("error", "exit_code"), [(UserError, 1), (Unreachable, 75)])
def test_the_error_of_a_command_is_raised_with_its_kind_and_message(
    error: type[UserError], exit_code: int, tmp_path: Path
) -> None:
    write_program(tmp_path, FAIL.format(error=error.__name__, exit_code=exit_code))

    with pytest.raises(UserError, match="^Weaviate does not answer$") as failure:
        child_command.run(tmp_path, "refresh")

    assert type(failure.value) is error


def test_a_command_that_was_killed_may_be_tried_again(tmp_path: Path) -> None:
    write_program(tmp_path, "import os\nos.kill(os.getpid(), 9)\n")

    with pytest.raises(Unreachable, match="^python -m pipelines refresh was killed by signal 9$"):
        child_command.run(tmp_path, "refresh")


def test_a_command_that_leaves_no_report_is_named_with_its_exit_code(tmp_path: Path) -> None:
    write_program(tmp_path, "import sys\nsys.exit(2)\n")

    with pytest.raises(UserError, match="^python -m pipelines refresh ended with exit code 2"):
        child_command.run(tmp_path, "refresh")
