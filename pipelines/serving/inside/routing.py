"""Which release answers a request, inside Triton: shares from a file that the release command replaces whole.

    {"routes": [{"release_id": "r-3f2a9c01b7de", "share": 0.9}, {"release_id": "r-77362ebf2e9d", "share": 0.1}]}

The same request id always goes to the same release while the shares stay; shares are cumulated in the file's order.
"""

import hashlib
import json
import os
from pathlib import Path


def share_of(request_id: str) -> float:
    """A number from 0 (inclusive) to 1 (exclusive), evenly spread over request ids."""
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8], "big") / 2**64


def pick(routes: list[tuple[str, float]], request_id: str) -> str:
    """The release of a request. The last one takes what rounding leaves."""
    place, edge = share_of(request_id), 0.0
    for release, share in routes:
        edge += share
        if place < edge:
            return release
    return routes[-1][0]


def parse(text: str) -> list[tuple[str, float]]:
    """Releases and shares. Raises ValueError where they are no routes."""
    routes = [(str(route["release_id"]), float(route["share"])) for route in json.loads(text)["routes"]]
    if not routes or any(share < 0 for _, share in routes) or abs(sum(share for _, share in routes) - 1) > 1e-6:
        raise ValueError("shares must not be negative and sum to 1")
    return routes


class Router:
    """Reads the file anew when it was replaced."""

    def __init__(self, path: Path):
        self._path, self._seen, self._routes = path, (0, 0), list[tuple[str, float]]()

    def route(self, request_id: str) -> str:
        """Raises OSError or ValueError where there is no good file and never was one."""
        try:
            found = os.stat(self._path)
            if (found.st_mtime_ns, found.st_ino) != self._seen:
                self._routes = parse(self._path.read_text())
                self._seen = (found.st_mtime_ns, found.st_ino)
        except (OSError, ValueError, KeyError, TypeError):
            if not self._routes:
                raise
        return pick(self._routes, request_id)
