"""SIGKILL for the release command and the live server in each step of a release.

The old release keeps answering.

infra/test -m slow tests/serving/test_crashes.py
(some minutes: every release is proven on a fresh server)
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

from pipelines.commands import release, rollback
from pipelines.decision import ledger
from pipelines.errors import Refusal
from pipelines.serving import canary, client, live_server, paired_judgement
from pipelines.serving.triton_connection import Triton
from tests.serving.users import kill_server, traffic, wait_for_sole_route

ROOT = Path(__file__).parents[2]
CRASHES = [
    ("pipelines.serving.proof", "prove"),
    ("pipelines.serving.live_server", "install"),
    ("pipelines.serving.live_server", "load"),
    ("pipelines.serving.shadow", "compare"),
    ("pipelines.serving.canary", "switch"),
    ("pipelines.serving.releasing", "keep"),
    ("pipelines.decision.ledger", "append"),
    ("pipelines.decision.ledger", "_move_branch"),
]
CRASH = """
import importlib, os, signal, sys
from pipelines.commands import release

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(importlib.import_module(sys.argv[1]), sys.argv[2], die)
release.run("ada", "crashed")
"""


def release_and_die_at(module: str, function: str) -> None:
    """`release` in a process of its own that kills itself when it calls this function."""
    process = subprocess.run(
        [sys.executable, "-c", CRASH, module, function],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stdout + process.stderr


@pytest.fixture
def first(served: Callable[[], Triton], candidate: Callable[..., str]) -> str:
    """The live release; it is made if there is none."""
    served()
    champion = ledger.champion()
    if champion is None:
        release.run("ada", f"first of {candidate('r-one')}")
    release_id = champion.release_id if champion else "r-one"
    wait_for_sole_route(release_id)
    return release_id


@pytest.mark.slow
def test_a_killed_release_leaves_the_old_one_answering_and_the_same_command_finishes(
    first: str, candidate: Callable[..., str]
) -> None:
    candidate("r-crash")
    with traffic() as answers:
        for module, function in CRASHES:
            release_and_die_at(module, function)
            wait_for_sole_route(first)
            assert client.ask("What can you tell?").release_id == first
            live = [event.release_id for event in ledger.read() if event.champion]
            assert live[-1] == first, (module, function)
        # The record is made: from here on the new one is the release.
        release_and_die_at("pipelines.serving.releasing", "settle")
        wait_for_sole_route("r-crash")
        release.run("ada", "crashed")
    assert answers.errors == []
    assert client.ask("What can you tell?").release_id == "r-crash"
    releases = [event.release_id for event in ledger.read() if event.kind == "released"]
    assert releases.count("r-crash") == 1
    champion = json.loads(Path("models/champion.json").read_text())["champion"]
    assert champion["release_id"] == "r-crash"
    rollback.run(first, "ada", "as it was")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "function", "reason"),
    [
        (live_server, "load", "the live server loads it"),
        (paired_judgement, "judge", "the live server answers"),
        (canary, "_missing", "the live server answers"),
    ],
)
def test_a_server_killed_during_a_takeover_ends_the_release_and_returns_with_the_old_one(
    first: str,
    served: Callable[[], Triton],
    candidate: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    function: str,
    reason: str,
) -> None:
    triton = served()
    log = Path("serve.log")
    candidate("r-unlucky")
    before = log.read_text().count("Ctrl-C stops it")
    original = getattr(module, function)

    def kill_and_call(*arguments: Any) -> Any:
        if live_server.find_running() == triton:
            kill_server(triton)
        return original(*arguments)

    with traffic():
        with monkeypatch.context() as patch:
            patch.setattr(module, function, kill_and_call)
            with pytest.raises(Refusal, match=reason):
                release.run("ada", "unlucky")
        deadline = time.monotonic() + 600
        while log.read_text().count("Ctrl-C stops it") == before:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
    wait_for_sole_route(first)
    assert client.ask("What can you tell?").release_id == first
    assert reason in ledger.read()[-1].why
