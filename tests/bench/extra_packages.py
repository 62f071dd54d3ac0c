"""Packages of rivals that benches alone need: installed beside this environment, never into it.

They use this environment's torch and transformers, so that both sides compute with the same.
"""

import subprocess
import sys
from pathlib import Path

from pipelines.system import locks, paths

UV = Path(sys.prefix).parent / ".tools/bin/uv"
MAX_SECONDS = 1800  # llama-cpp-python compiles for minutes


class Unavailable(Exception):
    """A package cannot be installed here; the message says why."""


def install(*requirements: str) -> Path:
    """A folder below `.state` with these packages (name==version), to be put on the path.

    What they require is not installed with them. Raises Unavailable.
    """
    name = "-".join(requirements).replace("==", "-")
    folder = paths.state_folder() / "bench" / name
    finish_mark = folder / "finished"
    with locks.exclusive(folder.with_suffix(".lock")):
        if not finish_mark.exists():
            print(f"installing {', '.join(requirements)} into {folder}", flush=True)
            _install(folder, requirements)
            finish_mark.touch()
    return folder


def _install(folder: Path, requirements: tuple[str, ...]) -> None:
    command = [str(UV), "pip", "install", "--python", sys.executable, "--no-deps"]
    command += ["--target", str(folder), *requirements]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{requirements[0]} cannot be installed: {error}") from error
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["uv says nothing"]
        raise Unavailable(f"{requirements[0]} cannot be installed: {lines[-1]}")
