"""Chooses the release that answers a request, by shares in a file that is replaced whole.

    {"routes": [{"release_id": "r-3f2a9c01b7de", "share": 0.9},
                {"release_id": "r-77362ebf2e9d", "share": 0.1}]}

A position from 0 to 1 chooses the release; shares are summed up in the file's order, so a position
stays with the new release while its share grows. The gateway gives each asker a position that
no client can choose (gateway/placement.py).
"""

import json
import os
from pathlib import Path

Routes = list[tuple[str, float]]  # release id and share


def pick(routes: Routes, position: float) -> str:
    """The release at a position. The last release takes what rounding leaves."""
    edge = 0.0
    for release, share in routes:
        edge += share
        if position < edge:
            return release
    return routes[-1][0]


def parse(text: str) -> Routes:
    """Releases and shares. Raises ValueError if the text holds no valid routes."""
    records = json.loads(text)["routes"]
    routes = [(str(record["release_id"]), float(record["share"])) for record in records]
    shares = [share for _, share in routes]
    if not shares or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError("shares must not be negative and must sum to 1")
    return routes


class Router:
    """Reads the routes again whenever their file is replaced."""

    def __init__(self, path: Path):
        self._path = path
        self._version = (0, 0)  # modification time and inode of the file that was read
        self._routes: Routes = []

    def route(self, position: float) -> str:
        """The release at a position, by the last valid file.

        Raises OSError or ValueError if there is no valid file and never was.
        """
        try:
            self._refresh()
        except (OSError, ValueError, KeyError, TypeError):
            if not self._routes:
                raise
        return pick(self._routes, position)

    def _refresh(self) -> None:
        stat = os.stat(self._path)
        version = (stat.st_mtime_ns, stat.st_ino)
        if version != self._version:
            self._routes = parse(self._path.read_text())
            self._version = version
