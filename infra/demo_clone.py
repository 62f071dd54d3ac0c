"""The demo's clone of the last commit, below .state/demo, and its servers.

Standard library only. infra/demo.py tells the story.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".state/demo"
CLONE = HOME / "clone"
# By its own path: DeepSpeed would compile its operator again for another one.
PYTHON = ROOT / ".venv/bin/python"
# What the clone links to instead of having its own.
LINKS = (
    ".venv",
    ".venv-airflow",
    ".venv-triton",
    ".venv-openvino",
    ".tools",
    ".state/weaviate/bin",
    ".state/torch_extensions",
    ".state/triton",
    ".state/openvino_graphs",
)
# Values of params.yaml in the demo, which lasts minutes instead of days.
SHORTCUTS = {
    "release.approval": "auto",
    "proof.num_questions": 20,
    "airflow.monitor_schedule": "* * * * *",
    "airflow.refresh_schedule": None,
    "shadow.max_seconds": 60.0,  # the users of the story hardly ever pause
    "canary.steps": [0.5, 1.0],
    "canary.min_requests": 30,
    # What users who ask for minutes cannot tell is on record, and the story goes on.
    "canary.max_step_seconds": 600.0,
    "canary.undecided": "go_on",
}
# Decisions that the story does not tell, made so careful that none goes wrong by chance.
CAUTIONS = {
    # 1 in 2000 each, instead of 1 in 100: a quiet window, a good release.
    "monitor.false_alarm_rate": 0.0005,
    "monitor.num_resamples": 4000,  # so that a drift can still be drastic at that rate
    "shadow.false_refusal_rate": 0.0005,
    "canary.false_rollback_rate": 0.0005,
    # By what two trainings of a tiny model differ is not worse; a few hundred requests tell more.
    "canary.limits": {
        "failures": {"tolerate": 0.05, "find": 0.3},
        "latency": {"tolerate": 4.0, "find": 16.0},
        "refusals": {"tolerate": 0.3, "find": 0.7},
        "groundedness": {"tolerate": 0.3, "find": 0.7},
        "thumbs": {"tolerate": 0.3, "find": 0.7},
    },
    # Two trainings differ by 0.03 in exact match (one standard deviation), and by whole answers in
    # a slice of ten questions.
    "gate.champion_margin": 0.15,
    "gate.max_slice_drop": 0.9,
    # Other work on the machine makes answers slow.
    "monitor.min_slowdown": 100.0,
}
# Further ones: a small model, which is trained in a minute. Tests take it too.
MADE_MODEL = "infra/presets/made.json"
CHANGE_PARAMS = """
import json
import sys
from pathlib import Path

from pipelines.runs import overrides

overrides.apply(Path("params.yaml"), json.loads(sys.argv[1]))
"""
# Variables of the environment that would lead the clone to other servers or repositories.
FOREIGN = ("AIRFLOW", "ASSISTANT_", "GATEWAY_", "GIT_", "DVC_", "WEAVIATE_", "PYTHON")
WAIT_SECONDS = 3600  # for one event; a busy machine takes many times as long as a quiet one
STOP_SECONDS = 60
MAX_SCREEN_LINES = 8  # of a command's output
MAX_ERROR_CHARACTERS = 3000
START = time.monotonic()


def say(text: str) -> None:
    seconds = int(time.monotonic() - START)
    print(f"[{seconds // 60:2d}:{seconds % 60:02d}] {text}", flush=True)


def expect(is_true: bool, promise: str) -> None:
    """Say that a promise of the loop holds, or end the demo if it does not."""
    if not is_true:
        raise SystemExit(f"NOT TRUE: {promise}. See {CLONE}")
    say(f"seen: {promise}")


def wait(event: str, condition: Callable[[], Any]) -> Any:
    """The condition's first true value; ends the demo if there is none in time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{event} did not come within {WAIT_SECONDS} s. See {CLONE}")
        time.sleep(1)
    return value


def make_clone() -> None:
    """The last commit with the results that dvc.lock names; it shares this clone's programs."""
    end_leftovers()
    shutil.rmtree(CLONE, ignore_errors=True)
    git("clone", "--quiet", "--no-tags", "--single-branch", str(ROOT), str(CLONE), folder=HOME)
    git("config", "user.name", "demo")
    git("config", "user.email", "demo@localhost")
    _link_programs()
    _copy_results()
    _shorten()
    if (CLONE / "dvc.lock").exists():
        run("-m", "dvc", "checkout", "--quiet", "--allow-missing", log="checkout.log")
    commit("Shorten what takes days")


def _link_programs() -> None:
    exclusions = "".join(f"/{name}\n" for name in LINKS)
    (CLONE / ".git/info/exclude").write_text(exclusions)
    for name in LINKS:
        if (ROOT / name).exists():
            (CLONE / name).parent.mkdir(parents=True, exist_ok=True)
            (CLONE / name).symlink_to(ROOT / name)


def _copy_results() -> None:
    """Small results and DVC's cache, and the vectors of questions that were embedded before."""
    paths = [*(ROOT / "data/reports").glob("*.json"), ROOT / "data/index.json", ROOT / "dvc.lock"]
    paths += (ROOT / ".state").glob("vectors.sqlite")
    for path in paths:
        if path.exists():
            shutil.copy(path, CLONE / path.relative_to(ROOT))
    (CLONE / ".dvc/config.local").write_text(f"[cache]\n    dir = {ROOT / '.dvc/cache'}\n")


def _shorten() -> None:
    """Change params.yaml so that the loop lasts minutes, and does not fail by chance."""
    values = json.loads((CLONE / MADE_MODEL).read_text()) | SHORTCUTS | CAUTIONS
    values["gateway.port"] = _free_port()  # beside a `make serve` of the clone around it
    run("-c", CHANGE_PARAMS, json.dumps(values))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def commit(message: str) -> None:
    git("add", "--all")
    git("commit", "--quiet", "--allow-empty", "--message", message)


def git(*arguments: str, folder: Path = CLONE) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, env=environment())


def environment() -> dict[str, str]:
    """The environment of the demo's programs."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {
        **variables,
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PIPELINE_PYTHON": str(PYTHON),
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def run(*arguments: str, log: str | None = None) -> str:
    """Output of a program of the pipeline's environment, shown on the screen or kept in a log.

    Ends the demo with the program's own words if it fails.
    """
    process = subprocess.run(
        [str(PYTHON), *arguments],
        cwd=CLONE,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout
    if log:
        (HOME / log).write_text(output)
    if process.returncode:
        raise SystemExit(
            f"`{' '.join(arguments)}` failed with exit code {process.returncode}:\n"
            f"{output[-MAX_ERROR_CHARACTERS:]}"
        )
    if not log:
        for line in output.splitlines()[:MAX_SCREEN_LINES]:
            print(f"        {line}", flush=True)
    return output


def run_command(command: str, *options: str, log: str | None = None) -> str:
    """Output of `python -m pipelines <command>`."""
    return run("-m", "pipelines", command, *options, log=log)


def decisions() -> list[dict[str, Any]]:
    """The decisions of `monitor` so far about windows that it could judge."""
    path = CLONE / "data/reports/drift/decisions.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [entry for entry in entries if entry["outcome"] != "cannot_tell"]


@contextmanager
def run_server(
    name: str, command: list[str], variables: dict[str, str] | None = None
) -> Iterator[None]:
    """A server of the demo in a process group of its own, ended with the block.

    The block begins when the server says how to stop it.
    """
    log_file = HOME / f"{name}.log"
    process_file = HOME / f"{name}.pid"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=CLONE,
            env={**environment(), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    process_file.write_text(str(process.pid))
    end = threading.Event()
    threading.Thread(target=_watch, args=(process, end, log_file), daemon=True).start()
    try:
        wait(f"the server `{name}`", lambda: "Ctrl-C stops it" in log_file.read_text())
        yield
    finally:
        end.set()
        process.terminate()
        process.wait(STOP_SECONDS)
        process_file.unlink()


def _watch(process: "subprocess.Popen[bytes]", end: threading.Event, log_file: Path) -> None:
    """End the demo if one of its servers ends by itself."""
    process.wait()
    if not end.is_set():
        print(
            f"{log_file.stem} ended by itself with exit code {process.returncode}: see {log_file}",
            file=sys.stderr,
            flush=True,
        )
        os.kill(os.getpid(), signal.SIGTERM)


def end_leftovers() -> None:
    """End the servers of a demo that was killed."""
    for path in HOME.glob("*.pid"):
        process = Path("/proc", path.read_text() or "none")
        with suppress(OSError):
            while (process / "cwd").readlink() == CLONE:
                os.kill(int(process.name), signal.SIGTERM)
                time.sleep(1)
        path.unlink()
