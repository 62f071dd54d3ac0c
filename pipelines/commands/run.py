"""`python -m pipelines run`: check the parameters, `dvc repro`, then the summary. What `make run` does after the set-up."""

import subprocess
import sys
import time

from pipelines import rwlock
from pipelines.errors import note_of_a_full_disk

DVC = [sys.executable, "-m", "dvc"]


def run() -> int:
    """The exit code of `dvc repro`, 1 where it could not keep every result; the summary is shown either way, since it says what stopped.

    `dvc status`, which takes less time than a `dvc repro` with nothing to do, looks first, beside our own imports and the check of the parameters.
    """
    began = time.time()
    rwlock.mend()
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
    elif done == 0 and (lost := _not_kept()):
        print(f"\nDVC could not keep every result (its errors are above), and would make these again:\n{lost}", file=sys.stderr)
        done = 1
    summary.run(since=began, stopped=done != 0)
    if done:
        print(note_of_a_full_disk(), file=sys.stderr)
    return done


def _not_kept() -> str:
    """What `dvc status` misses in the cache, or why it cannot say: `dvc repro` ends well where it could not copy an output there."""
    looked = subprocess.run([*DVC, "status"], capture_output=True, text=True)
    return looked.stderr or looked.stdout if looked.returncode or "not in cache" in looked.stdout else ""
