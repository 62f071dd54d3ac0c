"""Set up this clone: four environments, the servers, DeepSpeed's operator.

    python3 infra/setup.py            make or repair what is missing (`make setup`)
    python3 infra/setup.py airflow    only Airflow's environment (infra/airflow.Containerfile)
    python3 infra/setup.py doctor     say what is installed, what is missing, and how to repair it
    python3 infra/setup.py lock       pin pyproject.toml's groups into infra/requirements/*.txt

Standard library only. Each step (infra/setup_steps.py) leaves a stamp in .state/setup/ that holds
the digest of what it was made from. A step whose stamp is current is not repeated; a step that was
interrupted has no stamp and is done again.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from setup_steps import (
    PYTHON,
    REQUIREMENTS,
    ROOT,
    STATE,
    SYSTEM_COMMANDS,
    TORCH_BUILD,
    UV,
    SetupError,
    Step,
    has_headers,
    has_nvidia_gpu,
    has_venv,
    say,
    steps,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

# Tests that are skipped if a program is missing: Debian package -> a file that it brings.
TEST_PROGRAMS = {
    "tests/dags/test_ui.py": {"chromium": "/usr/bin/chromium"},
    "tests/gateway": {
        "chromium": "/usr/bin/chromium",
        "nginx-light": "/usr/sbin/nginx",
        "prometheus": "/usr/bin/prometheus",
        "postgresql": "/usr/lib/postgresql",
        "redis-server": "/usr/bin/redis-server",
    },
    "tests/infra/test_prometheus.py": {"prometheus": "/usr/bin/promtool"},
    "tests/corpus/test_recognition.py": {"tesseract-ocr": "/usr/bin/tesseract"},
    "infra/test -m celery": {
        "postgresql": "/usr/lib/postgresql",
        "redis-server": "/usr/bin/redis-server",
    },
    "infra/test -m images": {"buildah": "/usr/bin/buildah", "debootstrap": "/usr/sbin/debootstrap"},
}
GROUPS = ("pipeline", "airflow", "triton", "openvino", "models", "dev")  # of pyproject.toml
REMINDER_SECONDS = 30


class Check(NamedTuple):
    """A line of `doctor`."""

    is_good: bool
    subject: str
    remedy: str


def setup(*names: str) -> None:
    """Do the steps that are not current, all of them or only these. Raises SetupError."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        open_steps: list[Step] = []
        for step in steps():
            if not step.is_current() and (not names or step.name in names):
                open_steps.append(step)
        if not open_steps:
            return
        say(f"set-up of {ROOT.name}: {', '.join(step.name for step in open_steps)}")
        failures = perform_all(open_steps)
        if failures:
            raise SetupError(
                "\n".join(failures)
                + "\nFix it and run `make setup` again: steps that are done stay done."
            )
        say("set-up complete")


def perform_all(open_steps: list[Step]) -> list[str]:
    """Do the steps at once as far as their order allows; a line for each that failed."""
    # Imported here, since `make run` begins with a set-up that has nothing to do.
    from concurrent.futures import ThreadPoolExecutor

    end = threading.Event()
    futures: dict[str, Future[None]] = {}
    failures: list[str] = []
    with ThreadPoolExecutor(max_workers=len(open_steps) + 1) as pool:
        for step in open_steps:
            futures[step.name] = pool.submit(perform, step, futures)
        pool.submit(remind, futures, end)
        for name, future in futures.items():
            error = future.exception()
            if error:
                failures.append(f"{name}: {error}")
        end.set()
    return failures


def perform(step: Step, futures: dict[str, "Future[None]"]) -> None:
    """Do a step after those that it needs."""
    for name in step.after:
        if name in futures:
            futures[name].result()
    log = STATE / f"{step.name}.log"
    log.write_text("")
    start = time.monotonic()
    say(f"{step.name}: started (log: {log.relative_to(ROOT)})")
    step.make(log)
    (STATE / f"{step.name}.stamp").write_text(step.key)
    say(f"{step.name}: done in {time.monotonic() - start:.0f} s")


def remind(futures: dict[str, "Future[None]"], end: threading.Event) -> None:
    """Say from time to time what is still being done."""
    while not end.wait(REMINDER_SECONDS):
        names = [name for name, future in futures.items() if future.running()]
        say(f"still at work: {', '.join(names)}")


def doctor() -> int:
    """Print a line for each part, with the command that repairs it; 1 if a part is missing."""
    STATE.mkdir(parents=True, exist_ok=True)
    results = checks()
    for check in results:
        if check.is_good:
            print(f"ok      {check.subject}")
        else:
            print(f"MISSING {check.subject}    -> {check.remedy}")
    print_information()
    return 0 if all(check.is_good for check in results) else 1


def checks() -> list[Check]:
    install = "sudo apt-get install"
    results: list[Check] = []
    for command, package in SYSTEM_COMMANDS.items():
        is_there = shutil.which(command) is not None
        results.append(Check(is_there, f"command {command}", f"{install} {package}"))
    results.append(Check(has_venv(), "Python's venv module", f"{install} python{PYTHON}-venv"))
    results.append(Check(has_headers(), "Python's headers", f"{install} python{PYTHON}-dev"))
    for step in steps():
        results.append(Check(step.is_current(), f"set-up step {step.name}", "make setup"))
    return results


def print_information() -> None:
    version = sys.version.split()[0]
    build = TORCH_BUILD.read_text() if TORCH_BUILD.exists() else "not decided yet"
    gpu = "yes" if has_nvidia_gpu() else "no"
    print(f"info    Python {version}; torch build: {build}; NVIDIA GPU: {gpu}")
    url = os.environ.get("WEAVIATE_URL")
    server = f"{url} (WEAVIATE_URL)" if url else "embedded in this clone"
    go = "yes" if shutil.which("go") else "no (needed only if Weaviate cannot be downloaded)"
    print(f"info    Weaviate: {server}; Go: {go}")
    for tests, files in TEST_PROGRAMS.items():
        missing = [package for package, file in files.items() if not Path(file).exists()]
        remedy = f"skipped here; sudo apt-get install {' '.join(missing)}"
        print(f"info    {tests}: {remedy if missing else 'has its programs'}")


def lock() -> None:
    """Pin the groups. dev is pinned within what pipeline has, since they share an environment.

    models is pinned without what its packages require, of which nothing is used.
    """
    for group in GROUPS:
        target = REQUIREMENTS / f"{group}.txt"
        command = [str(UV), "pip", "compile", "-q", "--universal", "--python-version", "3.11"]
        command += ["--no-annotate", "--no-header", "--group", group, "-o", str(target)]
        if group == "dev":
            command += ["-c", str(REQUIREMENTS / "pipeline.txt")]
        if group == "models":
            command += ["--no-deps"]
        subprocess.run(command, check=True, cwd=ROOT)


def main(arguments: list[str]) -> int:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        print(
            f"Python {PYTHON} is not supported; 3.11 to 3.13 are. "
            "Name one: make PYTHON=python3.11 setup",
            file=sys.stderr,
        )
        return 2
    try:
        match arguments:
            case []:
                setup()
            case ["airflow"]:
                setup("system", "tools", "airflow")
            case ["doctor"]:
                return doctor()
            case ["lock"]:
                lock()
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up interrupted: run it again, what is done stays done", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
