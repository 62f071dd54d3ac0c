"""DVC's record of readers and writers, half-written by a kill or a full disk, with the real DVC."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.system import dvc_lock, locks

DVC = [sys.executable, "-m", "dvc"]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The record of a DVC repository with one stage that was run."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet", "."], check=True)
    subprocess.run([*DVC, "init", "--quiet"], check=True)
    Path("dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: echo made > made.txt\n    outs: [made.txt]\n"
    )
    subprocess.run([*DVC, "repro", "--quiet"], check=True)
    return tmp_path / ".dvc/tmp/rwlock"


def test_a_half_written_record_stops_dvc_until_it_is_repaired(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write_text('{"write": {}, "read": {"/some/wh')
    answer = subprocess.run([*DVC, "repro"], capture_output=True, text=True)
    assert answer.returncode != 0
    assert "Unable to read RWLock-file" in answer.stderr
    dvc_lock.repair()
    assert capsys.readouterr().out == (
        ".dvc/tmp/rwlock: removed; a DVC that was killed or ran out of disk space left half of it\n"
    )
    assert subprocess.run([*DVC, "repro"], capture_output=True).returncode == 0


def test_a_whole_record_stays_and_a_missing_one_is_no_error(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = {"pid": os.getpid(), "cmd": "dvc repro"}
    content = json.dumps({"write": {}, "read": {str(record): [reader]}})
    record.write_text(content)
    dvc_lock.repair()
    assert record.read_text() == content
    record.unlink()
    dvc_lock.repair()
    assert not record.exists()
    assert capsys.readouterr().out == ""


@pytest.fixture
def zombie() -> Iterator[int]:
    """The number of a child that was killed and not asked for its exit code."""
    child = subprocess.Popen(["sleep", "600"])
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    yield child.pid
    child.wait()


@pytest.mark.parametrize("mode", ["write", "read"])
def test_a_zombie_blocks_dvc_until_its_locks_are_gone(
    mode: str, record: Path, zombie: int, capsys: pytest.CaptureFixture[str]
) -> None:
    info = {"pid": zombie, "cmd": "dvc repro"}
    path = str(Path("made.txt").resolve())
    record.write_text(json.dumps({mode: {path: [info] if mode == "read" else info}}))
    answer = subprocess.run([*DVC, "repro", "--force"], capture_output=True, text=True)
    assert answer.returncode != 0
    assert f"(PID {zombie}): dvc repro" in answer.stderr

    dvc_lock.repair()

    assert f"the locks of process {zombie}, which is dead, are gone" in capsys.readouterr().out
    answer = subprocess.run([*DVC, "repro", "--force"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_a_dvc_that_was_killed_with_its_group_and_not_reaped_does_not_stop_the_next_run(
    record: Path,
) -> None:
    started = Path("started")
    Path("dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: touch started && sleep 600\n    outs: [made.txt]\n"
    )
    dvc = subprocess.Popen([*DVC, "repro"], start_new_session=True, stdout=subprocess.DEVNULL)
    while not started.exists():
        assert dvc.poll() is None
        time.sleep(0.05)
    os.killpg(dvc.pid, signal.SIGKILL)
    while psutil.Process(dvc.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)  # and not a moment longer: other threads may still be ending
    assert str(dvc.pid) in record.read_text()

    dvc_lock.repair()

    assert json.loads(record.read_text()) == {"write": {}, "read": {}}
    Path("dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: echo made > made.txt\n    outs: [made.txt]\n"
    )
    answer = subprocess.run([*DVC, "repro"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert dvc.wait() == -signal.SIGKILL


def test_a_number_that_another_process_got_later_holds_nothing(record: Path) -> None:
    reader = {"pid": os.getpid(), "cmd": "dvc repro"}
    record.write_text(json.dumps({"write": {}, "read": {"/some/path": [reader]}}))
    before_this_process = psutil.Process().create_time() - 60
    os.utime(record, (before_this_process, before_this_process))
    dvc_lock.repair()
    assert json.loads(record.read_text()) == {"write": {}, "read": {}}


def test_repair_waits_while_dvc_writes_the_record(record: Path) -> None:
    with locks.exclusive(record.with_name("rwlock.lock")):  # as DVC does while it writes
        record.write_text('{"write": {')
        repair = threading.Thread(target=dvc_lock.repair)
        repair.start()
        time.sleep(0.3)
        assert repair.is_alive()
        record.write_text('{"write": {}, "read": {}}')
    repair.join(10)
    assert record.read_text() == '{"write": {}, "read": {}}'


def test_dvc_waits_while_the_record_is_looked_at(record: Path) -> None:
    with locks.exclusive(record.with_name("rwlock.lock")):
        answer = subprocess.run([*DVC, "repro"], capture_output=True, text=True)
    assert answer.returncode != 0
    assert "lock" in answer.stderr
