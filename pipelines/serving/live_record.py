"""The ports of this clone's running live server, its control key, and the process that holds it.

Kept in .state/serving/ while the server runs: live.json, and control.key, which its owner alone can
read.
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from pipelines import files
from pipelines.serving import locations
from pipelines.serving.triton_connection import Triton


class LiveRecord(NamedTuple):
    """What the holder has written."""

    http_port: int
    grpc_port: int
    metrics_port: int
    holder: int  # process id
    since: float  # seconds since 1970

    def connect(self) -> Triton:
        """A connection that can ask the server, which need not be there any more."""
        log = locations.server_log()
        return Triton(self.http_port, self.grpc_port, self.metrics_port, log, None)

    def connect_for_control(self) -> Triton:
        """A connection that can load and unload too. Raises OSError if the key is not there."""
        key = key_path().read_text(encoding="utf-8")
        return dataclasses.replace(self.connect(), control_key=key)

    def has_holder(self) -> bool:
        """Whether the process that holds the server still runs."""
        return bool(psutil.pid_exists(self.holder))


def path() -> Path:
    return locations.serving_folder() / "live.json"


def key_path() -> Path:
    return locations.serving_folder() / "control.key"


def read() -> LiveRecord | None:
    """None if there is no record, or no readable one."""
    if not path().exists():
        return None
    try:
        return LiveRecord(**json.loads(path().read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None


def write(triton: Triton) -> None:
    """Put on record that this process holds the server."""
    record = LiveRecord(
        triton.http_port, triton.grpc_port, triton.metrics_port, os.getpid(), time.time()
    )
    files.write_secret(key_path(), triton.control_key)
    files.write_json(path(), record._asdict())


def remove() -> None:
    path().unlink(missing_ok=True)
    key_path().unlink(missing_ok=True)
