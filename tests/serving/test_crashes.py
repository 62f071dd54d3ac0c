"""SIGKILL for the release command and for the live server in each step of a release: the old release keeps answering.

infra/test -m slow tests/serving/test_crashes.py       (some minutes: every release is proven on a fresh server)
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import ledger
from pipelines.commands import release, rollback
from pipelines.errors import Refusal
from pipelines.serving import canary, client, live
from pipelines.serving.server import Triton
from tests.serving.users import kill_server, settled, traffic

ROOT = Path(__file__).parents[2]
CRASHES = [
    ("pipelines.serving.proof", "prove"),
    ("pipelines.serving.live", "install"),
    ("pipelines.serving.live", "load"),
    ("pipelines.serving.canary", "switch"),
    ("pipelines.commands.release", "_keep"),
    ("pipelines.ledger", "append"),
    ("pipelines.ledger", "_moved"),
]
CRASH = """
import importlib, os, signal, sys
from pipelines.commands import release

def die(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(importlib.import_module(sys.argv[1]), sys.argv[2], die)
release.run("ada", "crashed")
"""


def released_by_a_command_that_dies_at(module: str, function: str) -> None:
    """`release` in a process of its own that kills itself where it would call this function."""
    ended = subprocess.run([sys.executable, "-c", CRASH, module, function], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr


@pytest.fixture
def first(served: Callable[[], Triton], candidate: Callable[..., str]) -> str:
    """The live release, which is made where none is."""
    served()
    found = ledger.champion()
    if found is None:
        release.run("ada", f"first of {candidate('r-one')}")
    settled(found.release_id if found else "r-one")
    return found.release_id if found else "r-one"


@pytest.mark.slow
def test_a_release_command_that_is_killed_in_any_step_leaves_the_old_release_answering_and_the_same_command_finishes(first: str, candidate: Callable[..., str]) -> None:
    candidate("r-crash")
    with traffic() as seen:
        for module, function in CRASHES:
            released_by_a_command_that_dies_at(module, function)
            settled(first)
            assert client.ask("What can you tell?").release_id == first
            assert [event.release_id for event in ledger.read() if event.champion][-1] == first, (module, function)
        released_by_a_command_that_dies_at("pipelines.commands.release", "settle")  # the record is made: from here on the new one is the release
        settled("r-crash")
        release.run("ada", "crashed")
    assert seen.errors == []
    assert client.ask("What can you tell?").release_id == "r-crash"
    assert [event.release_id for event in ledger.read() if event.kind == "released"].count("r-crash") == 1
    assert json.loads(Path("models/champion.json").read_text())["champion"]["release_id"] == "r-crash"
    rollback.run(first, "ada", "as it was")


@pytest.mark.slow
@pytest.mark.parametrize(("module", "function", "reason"), [(live, "load", "the live server loads it"), (canary, "judge", "the server lives")])
def test_a_server_that_is_killed_while_a_release_takes_over_ends_the_release_and_comes_back_with_the_old_one(
    first: str, served: Callable[[], Triton], candidate: Callable[..., str], monkeypatch: pytest.MonkeyPatch, module: Any, function: str, reason: str
) -> None:
    triton, log = served(), Path("serve.log")
    candidate("r-unlucky")
    before, whole = log.read_text().count("Ctrl-C stops it"), getattr(module, function)

    def killing(*given: Any) -> Any:
        if live.running() == triton:
            kill_server(triton)
        return whole(*given)

    with traffic():
        with monkeypatch.context() as patch:
            patch.setattr(module, function, killing)
            with pytest.raises(Refusal, match=reason):
                release.run("ada", "unlucky")
        deadline = time.monotonic() + 600
        while log.read_text().count("Ctrl-C stops it") == before:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
    settled(first)
    assert client.ask("What can you tell?").release_id == first
    assert reason in ledger.read()[-1].why
