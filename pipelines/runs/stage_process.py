"""Runs one stage in a run's checkout: `dvc repro --single-item`, its output printed line by line.

It tells whether the stage ran, was unchanged or failed, and with which error.
"""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from pipelines import graph
from pipelines.errors import REPORT_VARIABLE, Unreachable, UserError, read_report
from pipelines.runs import child_command, data, work_trees
from pipelines.runs.work_trees import Run
from pipelines.system import dvc_lock, processes

# DVC ends with 0 both when it ran a stage and when it did not.
NOT_RUN = re.compile(r"Stage '.+' (didn't change, skipping|is cached - skipping run)")
# DVC ends with 255 whatever happened to the stage; a stage that was killed leaves no report.
STAGE_EXIT = re.compile(r"failed to run: .*, exited with (-?\d+)")
NOISE = re.compile(
    r"^(ERROR: failed to reproduce|Running stage|> python|Updating lock file|Use `dvc push`"
    r"|To track the changes|\s*git add |To enable auto staging|\s*dvc config core.autostage)"
)
STAGE_START = "> "  # begins DVC's line with the command that it runs
DVC_ERROR = "ERROR: "
LOST_OUTPUT = "ERROR: failed to transfer"  # DVC still ends with 0 if it could not fill its cache
NUM_LINES = 200  # that are remembered
WATCH_SECONDS = 1.0
STOP_SECONDS = 10.0
# Environment variable: the process without which this one must not go on (Airflow's task).
PARENT = "PIPELINE_TASK_PID"


def execute(run: Run, name: str) -> bool:
    """Run the stage unless DVC finds it unchanged; whether it ran.

    Raises UserError with the stage's own error, Unreachable if a retry may help.
    """
    with work_trees.enter(run) as folder:
        stages = graph.read(folder / "dvc.yaml")
        if name not in stages:
            raise UserError(
                f"dvc.yaml of this run's commit has no stage `{name}`; "
                f"its stages are {', '.join(stages)}"
            )
        dvc_lock.repair(folder)
        is_shared = bool(data.default_remote(folder))
        if is_shared and (folder / "dvc.lock").exists():
            data.dvc(folder, "pull", "--quiet", "--allow-missing", name)
            _make_unpushed_inputs(folder, stages, name)
        has_run = reproduce(folder, name, pull=is_shared)
        if is_shared and has_run:
            print("pushing the outputs to the DVC remote", flush=True)
            data.dvc(folder, "push", "--quiet", name)
        outcome = "ran" if has_run else "unchanged"
        work_trees.record(run, ["dvc.lock", *stages[name].outs], f"{name}: {outcome}")
    return has_run


def _make_unpushed_inputs(folder: Path, stages: dict[str, graph.Stage], name: str) -> None:
    """Run the stages again whose outputs this one reads and no remote has, unless they are here."""
    for maker in stages.values():
        missing = [
            path
            for path in maker.unpushed
            if path in stages[name].deps and not (folder / path).exists()
        ]
        if missing:
            print(f"{', '.join(missing)} stays on the machine that made it: {maker.name} runs here")
            reproduce(folder, maker.name, pull=True)


def reproduce(folder: Path, name: str, *, pull: bool) -> bool:
    """Let DVC run the stage if it has changed; whether it ran. Raises as `execute` does."""
    report_file = child_command.new_report_file(folder, name)
    process = _start_dvc(folder, name, report_file, pull=pull)
    _end_together(process)
    lines = _print_lines(process)
    exit_code = process.wait()
    if exit_code:
        raise _error_of(name, exit_code, lines, report_file)
    if any(NOT_RUN.search(line) for line in lines):
        return False
    if _has_lost_output(lines):
        raise Unreachable(
            f"DVC could not keep every output of {name} (its errors are above): "
            "free some space; the same command makes it again"
        )
    return True


def _start_dvc(
    folder: Path, name: str, report_file: Path, *, pull: bool
) -> "subprocess.Popen[bytes]":
    options = ["--single-item"]
    if pull:
        options.append("--pull")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        REPORT_VARIABLE: str(report_file),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *options, name],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environment,
    )


def _print_lines(process: "subprocess.Popen[bytes]") -> list[str]:
    """Print each line as it comes; returns the last lines.

    A carriage return, which progress bars print, counts as a line end.
    """
    lines: deque[str] = deque(maxlen=NUM_LINES)
    assert process.stdout is not None
    for text in io.TextIOWrapper(process.stdout, encoding="utf-8", errors="replace"):
        line = text.rstrip()
        lines.append(line)
        if line and not NOISE.match(line):
            print(line, flush=True)
    return list(lines)


def _has_lost_output(lines: list[str]) -> bool:
    """Whether DVC could not keep an output.

    Only what DVC said after it started the stage counts: before, it may have failed to pull a file
    that the stage has made since.
    """
    start = 0
    for number, line in enumerate(lines):
        if line.startswith(STAGE_START):
            start = number
    return any(line.startswith(LOST_OUTPUT) for line in lines[start:])


def _error_of(name: str, exit_code: int, lines: list[str], report_file: Path) -> UserError:
    """The stage's own error, or DVC's if DVC failed before or after the stage."""
    report = read_report(report_file)
    for line in lines:
        match = STAGE_EXIT.search(line)
        if match:
            return child_command.explain(f"stage {name}", int(match[1]), report)
    errors = [line.removeprefix(DVC_ERROR) for line in lines if line.startswith(DVC_ERROR)]
    if report is None and errors:
        return UserError("\n".join(errors))
    return child_command.explain(f"stage {name}", exit_code, report)


def _end_together(process: "subprocess.Popen[bytes]") -> None:
    """Stop the stage with its process group when this process is asked to end.

    Likewise when the parent (Airflow's task) is gone. The task passes its process id, because it
    may be gone before this process can ask for its parent's.
    """
    parent = int(os.environ.get(PARENT, os.getppid()))

    def stop(number: int = signal.SIGTERM, _frame: object = None) -> None:
        processes.stop_group(process, STOP_SECONDS)
        os._exit(128 + number)

    def watch() -> None:
        while process.poll() is None:
            if os.getppid() != parent:
                stop()
            time.sleep(WATCH_SECONDS)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, daemon=True).start()
