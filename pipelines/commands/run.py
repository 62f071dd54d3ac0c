"""`python -m pipelines run`: check the parameters, `dvc repro`, then the summary. What `make run` does after the set-up."""

import subprocess
import sys
import time

DVC = [sys.executable, "-m", "dvc"]


def run() -> int:
    """The exit code of `dvc repro`; the summary is shown either way, since it says what stopped.

    `dvc status`, which takes less time than a `dvc repro` with nothing to do, looks first, beside our own imports and the check of the parameters.
    """
    began = time.time()
    looking = subprocess.Popen([*DVC, "status", "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        from pipelines.commands import summary
        from pipelines.config import params

        params.load()
    finally:
        changed = looking.wait() != 0  # an error of its own too: `dvc repro` then says which
    done = subprocess.run([*DVC, "repro"]).returncode if changed else 0
    if not changed:
        print("nothing changed: every stage's result is up to date")
    summary.run(since=began, stopped=done != 0)
    return done
