"""What the operators make of a command's end, in Airflow's own environment."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUN_COMMAND = """
import json, os, sys
from pathlib import Path
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from dags import operators

operators.ROOT = Path(sys.argv[1])
os.environ["PIPELINE_PYTHON"] = sys.argv[2]
try:
    operators.run_command(SubprocessHook(), ["checkout", "stage"])
    outcome = None
except Exception as error:
    outcome = [type(error).__name__, str(error)]
print("RESULT" + json.dumps(outcome))
"""
RETRY = "AirflowException"
FAIL = "AirflowFailException"


def outcome_of(folder: Path, code: str) -> Any:
    """The task's error (class and message) if the command's Python runs this code."""
    (folder / "pipelines").mkdir()
    (folder / "pipelines/__main__.py").write_text(f"import json, os, sys\n{code}\n")
    process = subprocess.run(
        [
            str(ROOT / ".venv-airflow/bin/python"),
            "-c",
            RUN_COMMAND,
            str(folder),
            str(ROOT / ".venv/bin/python"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "AIRFLOW_HOME": str(folder), "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.split("RESULT", 1)[1])


def report(exit_code: int, message: str) -> str:
    """Code that ends as a command with this error does."""
    content = {"exit_code": exit_code, "kind": "UserError", "message": message}
    return (
        f"open(os.environ['PIPELINE_ERROR_FILE'], 'w').write(json.dumps({content}))\n"
        f"sys.exit({exit_code})"
    )


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("print('done')", None),
        (report(1, "params.yaml:3: is wrong"), [FAIL, "params.yaml:3: is wrong"]),
        (report(75, "Weaviate does not answer"), [RETRY, "Weaviate does not answer"]),
        ("os.kill(os.getpid(), 9)", [RETRY, "the command was killed by signal 9"]),
        ("sys.exit(143)", [RETRY, "the command was killed by signal 15"]),
        (
            "sys.exit(2)",
            [FAIL, "the command ended with exit code 2; its output is above"],
        ),
        (
            "sys.exit(99)",
            [
                "AirflowSkipException",
                "skipped (cached): nothing that this task reads has changed",
            ],
        ),
        (
            "assert not [name for name in os.environ if name.startswith('AIRFLOW')]",
            None,
        ),
    ],
)
def test_the_end_of_a_command_becomes_the_outcome_of_its_task(
    code: str, outcome: list[str] | None, tmp_path: Path
) -> None:
    assert outcome_of(tmp_path, code) == outcome
