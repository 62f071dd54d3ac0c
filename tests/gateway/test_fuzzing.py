"""Thousands of requests, valid, nearly valid and broken, made from the description of the API."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.gateway.keys import Role

NUM_CASES = 5000
EXAMPLES = 450  # of each operation and kind; about 12 cases come of each
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "ignored_auth", "unsupported_method"),
)


@pytest.mark.slow
def test_no_request_ends_in_a_server_error_an_undocumented_status_or_without_a_key(
    gateway: str, new_key: Callable[..., str]
) -> None:
    report = Path("schemathesis.log")
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{gateway}/openapi.json"]
    command += ["--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--seed", "7"]
    command += ["--header", f"Authorization: Bearer {new_key(role=Role.OPERATOR)}"]
    with report.open("w") as output:
        process = subprocess.run(command, stdout=output, stderr=output)
    text = report.read_text()
    assert process.returncode == 0, text[-5000:]
    counts = re.search(r"(\d+) generated", text)
    assert counts is not None
    assert int(counts[1]) >= NUM_CASES
