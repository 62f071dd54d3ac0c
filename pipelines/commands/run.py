"""`python -m pipelines run`: check the parameters, `dvc repro`, then the summary. What `make run` does after the set-up."""

import subprocess
import sys
import time

from pipelines.commands import summary
from pipelines.config import params


def run() -> int:
    """The exit code of `dvc repro`; the summary is shown either way, since it says what stopped."""
    params.load()
    began = time.time()
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"])
    summary.run(since=began, stopped=done.returncode != 0)
    return done.returncode
