"""Knows where this clone keeps what neither Git nor DVC touches: `.state/`, shared by all work trees of the clone."""

import subprocess
from pathlib import Path


def shared_state() -> Path:
    """`.state` of the clone's main work tree, absolute; of the current folder where there is no Git."""
    asked = subprocess.run(["git", "rev-parse", "--path-format=absolute", "--git-common-dir"], capture_output=True, text=True)
    common = Path(asked.stdout.strip()) if asked.returncode == 0 else Path.cwd() / ".git"
    return (common.parent if common.name == ".git" else Path.cwd()) / ".state"
