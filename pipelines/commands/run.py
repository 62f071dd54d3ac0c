"""Run what changed (`dvc repro`), then print the summary.

What `make run` does after the set-up. `dvc status`, which takes less time than a `dvc repro` with
nothing to do, looks for changes first, while this process imports and checks the parameters.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import demand_none, note_of_a_full_disk
from pipelines.system import dvc_lock

if TYPE_CHECKING:
    from pipelines.config.params import Params

UNPUSHED = (
    "{path} is not here: dvc.yaml marks it `push: false`, so no remote has it. It is made again "
    "when a stage that reads it has to run"
)
DVC = [sys.executable, "-m", "dvc"]


def run() -> int:
    """The exit code of `dvc repro`, or 1 if DVC could not keep every result.

    The summary is printed either way: it says what stopped.
    """
    start = time.time()
    dvc_lock.repair()
    status = subprocess.Popen(
        [*DVC, "status", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        from pipelines import graph
        from pipelines.config import params
        from pipelines.decision import run_summary

        _require_possible_gate(params.load())
    finally:
        output, _ = status.communicate()
    stages = graph.read()
    missing = [path for path in graph.unpushed(stages) if not Path(path).exists()]
    # An error of `dvc status` counts as a change: `dvc repro` then reports it.
    is_changed = status.returncode != 0 or has_changed(output, missing)
    code = _reproduce() if is_changed else 0
    if not is_changed:
        print("nothing changed: every stage's result is up to date")
        for path in missing:
            print(UNPUSHED.format(path=path))
    print(run_summary.write(list(stages), since=start, has_failed=code != 0))
    if code:
        print(note_of_a_full_disk(), file=sys.stderr)
    return code


def has_changed(status: str, missing: list[str]) -> bool:
    """Whether the output of `dvc status --json` says more than that these outputs are missing.

    A clone that pulled its results has all but these, and their stages need not run again.
    """
    changes: Any = json.loads(status)
    for entries in changes.values():
        for entry in entries:
            if not isinstance(entry, dict):  # "changed command", "always changed"
                return True
            for kind, files in entry.items():
                is_file = kind in ("changed deps", "changed outs")
                if not is_file or not set(files) <= set(missing):
                    return True
    return False


def _require_possible_gate(values: "Params") -> None:
    """Raises UserError if no model could pass the gate, before one is trained for minutes."""
    from pipelines import graph
    from pipelines.config.examples import ExamplesConfig
    from pipelines.config.gate import GateConfig
    from pipelines.decision import gate_settings
    from pipelines.questions import golden, prompts, reading_set

    if "gate" not in graph.read():
        return
    config = values.section(ExamplesConfig)
    template = prompts.load(Path(f"data/prompts/{config.template}.yaml"))
    questions = golden.load_all(Path("data/golden"), Path("data/qa"), template.refusal)
    if config.use_reading_set:
        questions += reading_set.load().exam(template.refusal or "")
    demand_none(gate_settings.problems(values.section(GateConfig), questions))


def _reproduce() -> int:
    code = subprocess.run([*DVC, "repro"]).returncode
    losses = _uncached_results() if code == 0 else ""
    if losses:
        print(
            "\nDVC could not keep every result (its errors are above), "
            f"and would make these again:\n{losses}",
            file=sys.stderr,
        )
        return 1
    return code


def _uncached_results() -> str:
    """What `dvc status` misses in the cache, or its error; empty if all is there.

    `dvc repro` succeeds even if it could not copy an output into the cache.
    """
    status = subprocess.run([*DVC, "status"], capture_output=True, text=True)
    if status.returncode or "not in cache" in status.stdout:
        return status.stderr or status.stdout
    return ""
