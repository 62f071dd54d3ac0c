"""A checkout's data: DVC there uses the clone's cache and remotes but keeps its own state."""

import configparser
import subprocess
import sys
from pathlib import Path

from pipelines.errors import UserError
from pipelines.system import git

SETTINGS = ".dvc/config.local"


def is_configured(folder: Path) -> bool:
    return (folder / SETTINGS).exists()


def configure(folder: Path, clone: Path) -> None:
    """Copy the clone's cache and remotes, whose paths may be relative to the clone."""
    settings = configparser.ConfigParser(interpolation=None)
    settings["cache"] = {"dir": dvc(clone, "cache", "dir").strip()}
    settings["core"] = {"site_cache_dir": str(folder / ".dvc/tmp/site")}
    for line in dvc(clone, "config", "--list").splitlines():
        name, _, value = line.partition("=")
        kind, _, rest = name.partition(".")
        if kind == "remote":
            remote, _, key = rest.rpartition(".")
            section = f"'remote \"{remote}\"'"
            if not settings.has_section(section):
                settings.add_section(section)
            settings[section][key] = value
        elif name == "core.remote":
            settings["core"]["remote"] = value
    target = folder / SETTINGS
    temporary = target.with_suffix(".new")
    temporary.touch(mode=0o600)  # a remote's settings may hold a password
    with temporary.open("w", encoding="utf-8") as file:
        settings.write(file)
    temporary.rename(target)


def materialise(folder: Path) -> None:
    """Bring what dvc.lock and `.dvc` files name from the cache: results, champion, documents.

    If machines share data, only what `.dvc` files name is brought, from the remote: a task fetches
    the results that it reads itself, and the rest may be on another machine.
    """
    if default_remote(folder):
        pointers = git.output("ls-files", "*.dvc", folder=folder).splitlines()
        if pointers:
            dvc(folder, "pull", "--quiet", *pointers)
    elif (folder / "dvc.lock").exists() or list(folder.glob("**/*.dvc")):
        dvc(folder, "checkout", "--quiet", "--allow-missing")


def fetch(folder: Path, paths: list[str]) -> None:
    """If machines share data, bring these outputs here as far as the run has made them."""
    if default_remote(folder):
        dvc(folder, "pull", "--quiet", "--allow-missing", *paths)


def default_remote(folder: Path) -> str | None:
    """Name of the DVC remote through which machines share data; None if there is none."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(folder / SETTINGS, encoding="utf-8")
    return settings.get("core", "remote", fallback=None)


def dvc(folder: Path, *arguments: str) -> str:
    """Output of a short `dvc` command. Raises UserError with DVC's own words."""
    command = [sys.executable, "-m", "dvc", *arguments]
    child = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if child.returncode:
        raise UserError(f"dvc {' '.join(arguments)} in {folder} failed: {child.stderr.strip()}")
    return child.stdout
