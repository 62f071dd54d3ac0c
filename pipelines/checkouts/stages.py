"""A stage in a run's checkout: `dvc repro --single-item`, its output passed on line by line, its outcome told apart."""

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

from pipelines import graph, rwlock
from pipelines.checkouts import tree
from pipelines.errors import TRY_AGAIN, Unreachable, UserError

SKIPPED = re.compile(r"Stage '.+' (didn't change, skipping|is cached - skipping run)")
EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)")
NOISE = re.compile(r"^(ERROR: failed to reproduce|Running stage|> python|Updating lock file|Use `dvc push`|To track the changes|\s*git add |To enable auto staging|\s*dvc config core.autostage)")
UNKEPT = "ERROR: failed to transfer"  # DVC says so and ends well where it could not copy a file to its cache
WATCH_SECONDS = 1.0
PARENT = "PIPELINE_TASK_PID"  # environment variable: the process without which this one must not go on


def execute(run: tree.Run, name: str) -> bool:
    """Run the stage unless DVC finds it unchanged; False where nothing ran. Raises UserError with the stage's own error, Unreachable where a retry may help."""
    with tree.entered(run) as folder:
        declared = graph.read(folder / "dvc.yaml")
        if name not in declared:
            raise UserError(f"dvc.yaml of this run's commit has no stage `{name}`; its stages are {', '.join(declared)}")
        rwlock.mend(folder)
        shared = bool(tree.default_remote(folder))
        if shared and (folder / "dvc.lock").exists():
            tree.dvc(folder, "pull", "--quiet", "--allow-missing", name)
        ran = _reproduce(folder, name, pull=shared)
        if shared and ran:
            print("pushing the outputs to the DVC remote", flush=True)
            tree.dvc(folder, "push", "--quiet", name)
        tree.record(run, ["dvc.lock", *declared[name].outs], f"{name}: {'ran' if ran else 'unchanged'}")
    return ran


def _reproduce(folder: Path, name: str, pull: bool) -> bool:
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *(["--pull"] if pull else []), name]
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, "PATH": search, "PYTHONUNBUFFERED": "1"})
    _end_together(started)
    said = _passed_on(started)
    code = started.wait()
    if code == 0:
        ran = not any(SKIPPED.search(line) for line in said)
        began = max((number for number, line in enumerate(said) if line.startswith("> ")), default=0)  # a file that could not be pulled before it is made now
        if ran and any(line.startswith(UNKEPT) for line in said[began:]):
            raise Unreachable(f"DVC could not keep every output of {name} (its errors are above): free some space; the same command makes it again")
        return ran
    exited = next((int(found[1]) for line in said if (found := EXITED.search(line))), code)
    raise (Unreachable if _may_pass(exited) else UserError)(_error(said, name, exited))


def _passed_on(started: "subprocess.Popen[bytes]") -> list[str]:
    """Print each line as it comes; returns the last 200. A progress bar's carriage returns count as line ends."""
    said: deque[str] = deque(maxlen=200)
    assert started.stdout is not None
    for line in io.TextIOWrapper(started.stdout, encoding="utf-8", errors="replace"):
        said.append(line.rstrip())
        if line.strip() and not NOISE.match(line):
            print(line.rstrip(), flush=True)
    return list(said)


def _may_pass(code: int) -> bool:
    """Whether the same command may succeed later: the stage said so, or something killed it (a shell tells signals as 128 + number)."""
    return code == TRY_AGAIN or code < 0 or code in (128 + signal.SIGKILL, 128 + signal.SIGTERM)


def _error(said: list[str], name: str, code: int) -> str:
    """The last paragraph that the stage wrote before DVC's own summary."""
    own = [line for line in said if not NOISE.match(line)]
    while own and not own[-1].strip():
        own.pop()
    start = max((number for number, line in enumerate(own) if not line.strip()), default=-1) + 1
    if code < 0 or 128 < code < 128 + signal.NSIG:  # DVC's own failures end with 255
        return f"stage {name} was killed by signal {-code if code < 0 else code - 128}"
    return "\n".join(own[start:]) or f"stage {name} ended with exit code {code} and said nothing"


def _end_together(started: "subprocess.Popen[bytes]") -> None:
    """Stop the stage with its whole process group when this process is asked to end, or when its parent (Airflow's task) is gone."""
    # Airflow's task tells its process id: it may be gone before this process can ask for its parent's.
    parent = int(os.environ.get(PARENT, os.getppid()))

    def stop(number: int = signal.SIGTERM, frame: object = None) -> None:
        _stop_group(started)
        os._exit(128 + number)

    def watch() -> None:
        while started.poll() is None:
            if os.getppid() != parent:
                stop()
            time.sleep(WATCH_SECONDS)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, daemon=True).start()


def _stop_group(started: "subprocess.Popen[bytes]", patience_seconds: float = 10) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(started.pid, number)
            started.wait(patience_seconds)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
