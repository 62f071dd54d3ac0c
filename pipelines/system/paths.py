"""Where this clone keeps what neither Git nor DVC tracks: `.state/`."""

from pathlib import Path

from pipelines.system import git


def state_folder() -> Path:
    """`.state` of the clone's main work tree, absolute, shared by all its work trees.

    Where there is no Git repository, `.state` of the current folder.
    """
    answer = git.call("rev-parse", "--path-format=absolute", "--git-common-dir")
    common = Path(answer.stdout.strip()) if answer.returncode == 0 else Path.cwd() / ".git"
    clone = common.parent if common.name == ".git" else Path.cwd()
    return clone / ".state"
