"""Where the live server of this clone keeps its files, and where the traffic log lies."""

from pathlib import Path

from pipelines.system import paths


def serving_folder() -> Path:
    return paths.state_folder() / "serving"


def repository() -> Path:
    """The models of the live server: its entry, and every release under its own names."""
    return serving_folder() / "repository"


def server_log() -> Path:
    return serving_folder() / "server.log"


def traffic_folder() -> Path:
    """data/traffic of the clone's main work tree, whatever work tree this runs in."""
    return paths.state_folder().parent / "data/traffic"
