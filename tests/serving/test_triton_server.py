"""What a Triton server that was killed leaves in /dev/shm, which everybody shares."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from pipelines.serving import triton_server
from pipelines.serving.triton_server import SHARED_MEMORY


def ended_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="no /dev/shm on this system")
def test_regions_of_ended_starters_are_removed_and_those_of_running_ones_stay() -> None:
    token = uuid.uuid4().hex[:8]
    orphan = SHARED_MEMORY / f"assistant-{ended_process()}-{token}-a"
    own = SHARED_MEMORY / f"assistant-{os.getpid()}-{token}-b"
    stopped = SHARED_MEMORY / f"assistant-{os.getpid()}-{token}-stopped-c"
    regions = (orphan, own, stopped)
    try:
        for region in regions:
            region.write_bytes(b"")
        triton_server.sweep_shared_memory(f"assistant-{os.getpid()}-{token}-stopped-")
        assert [region.exists() for region in regions] == [False, True, False]
    finally:
        for region in regions:
            region.unlink(missing_ok=True)


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/shm").is_dir(),
    reason="only root can make another user's file",
)
def test_another_users_regions_are_left_alone() -> None:
    region = SHARED_MEMORY / f"assistant-{ended_process()}-{uuid.uuid4().hex[:8]}-a"
    try:
        region.write_bytes(b"")
        os.chown(region, 65534, 65534)
        triton_server.sweep_shared_memory()
        assert region.exists()
    finally:
        region.unlink(missing_ok=True)
