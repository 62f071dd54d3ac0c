"""What a Triton server that was killed leaves in /dev/shm, which is everybody's."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from pipelines.serving import server


def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.skipif(not server.SHARED_MEMORY.is_dir(), reason="no /dev/shm on this system")
def test_regions_of_ended_starters_are_removed_and_those_of_running_ones_stay() -> None:
    token = uuid.uuid4().hex[:8]
    left, own, stopped = (server.SHARED_MEMORY / f"assistant-{starter}-{token}-{name}" for starter, name in ((ended(), "a"), (os.getpid(), "b"), (os.getpid(), "stopped-c")))
    try:
        for region in (left, own, stopped):
            region.write_bytes(b"")
        server.sweep_shared_memory(f"assistant-{os.getpid()}-{token}-stopped-")
        assert [region.exists() for region in (left, own, stopped)] == [False, True, False]
    finally:
        for region in (left, own, stopped):
            region.unlink(missing_ok=True)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/shm").is_dir(), reason="only root can make another user's file")
def test_another_users_regions_are_left_alone() -> None:
    region = server.SHARED_MEMORY / f"assistant-{ended()}-{uuid.uuid4().hex[:8]}-a"
    try:
        region.write_bytes(b"")
        os.chown(region, 65534, 65534)
        server.sweep_shared_memory()
        assert region.exists()
    finally:
        region.unlink(missing_ok=True)
