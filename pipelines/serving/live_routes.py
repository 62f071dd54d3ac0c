"""Which release answers which share of the requests: .state/serving/routes.json.

The file is replaced whole, and requests that come after that obey it. `canary` names the process
that watches a switch, if one is under way.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from pipelines import files
from pipelines.runtime import routing
from pipelines.serving import locations

Shares = list[tuple[str, float]]  # release id, share from 0 to 1


class Routes(NamedTuple):
    """The shares, and the process that watches a switch."""

    shares: Shares
    canary_pid: int | None


def path() -> Path:
    return locations.serving_folder() / "routes.json"


def read() -> Routes:
    """No shares if no release is served."""
    if not path().exists():
        return Routes([], None)
    text = path().read_text(encoding="utf-8")
    return Routes(routing.parse(text), json.loads(text).get("canary"))


def write(shares: Shares, canary_pid: int | None = None) -> None:
    """Replace the routes. Raises ValueError unless the shares sum to 1."""
    content: dict[str, Any] = {
        "routes": [{"release_id": release, "share": share} for release, share in shares],
        "canary": canary_pid,
    }
    routing.parse(json.dumps(content))
    files.write_json(path(), content)


def clear() -> None:
    """Serve no release: the entry refuses every request."""
    path().unlink(missing_ok=True)


def is_abandoned() -> bool:
    """Whether a switch was left by a process that has ended.

    Then the released one must take everything back.
    """
    pid = read().canary_pid
    return pid is not None and not psutil.pid_exists(pid)
