"""The workflow of the hosted CI: it parses, and every command is a target of the Makefile."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
SUMMARY = re.escape(' >> "$GITHUB_STEP_SUMMARY"')
COMMAND = re.compile(rf"(?:sudo )?make ([a-z-]+)(?: [A-Z_]+=\S.*)?(?:{SUMMARY})?")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def steps(job: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = WORKFLOW["jobs"][job]["steps"]
    return listed


@pytest.mark.parametrize("job", WORKFLOW["jobs"])
def test_every_command_is_a_target_of_the_makefile(job: str) -> None:
    commands = [step["run"] for step in steps(job) if "run" in step]
    assert commands
    for command in commands:
        match = COMMAND.fullmatch(command)
        assert match, command
        assert match.group(1) in TARGETS, command


@pytest.mark.parametrize("job", WORKFLOW["jobs"])
def test_every_job_checks_out_first_has_a_limit_and_takes_a_python_that_the_project_takes(
    job: str,
) -> None:
    first, second, *_ = steps(job)
    assert first["uses"].startswith("actions/checkout@")
    assert second["with"]["python-version"] == "3.11"
    assert WORKFLOW["jobs"][job]["timeout-minutes"] <= 120


def test_only_the_job_that_comments_may_write_and_only_comments() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    writers = {
        name: job["permissions"] for name, job in WORKFLOW["jobs"].items() if "permissions" in job
    }
    assert writers == {"small-run": {"contents": "read", "pull-requests": "write"}}
