"""DVC's note of readers and writers, half-written as a kill or a full disk leaves it, with the real DVC."""

import fcntl
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines import rwlock

DVC = [sys.executable, "-m", "dvc"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC repository with one stage that was run."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet", "."], check=True)
    subprocess.run([*DVC, "init", "--quiet"], check=True)
    Path("dvc.yaml").write_text("stages:\n  one:\n    cmd: echo made > made.txt\n    outs: [made.txt]\n")
    subprocess.run([*DVC, "repro", "--quiet"], check=True)
    return tmp_path / ".dvc/tmp/rwlock"


def test_a_half_written_note_stops_dvc_until_it_is_mended(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository.write_text('{"write": {}, "read": {"/some/wh')
    stopped = subprocess.run([*DVC, "repro"], capture_output=True, text=True)
    assert stopped.returncode != 0
    assert "Unable to read RWLock-file" in stopped.stderr
    rwlock.mend()
    assert capsys.readouterr().out == ".dvc/tmp/rwlock: was half-written by a DVC that was killed or had no space left: removed\n"
    assert subprocess.run([*DVC, "repro"], capture_output=True).returncode == 0


def test_a_whole_note_stays_and_none_is_no_fault(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = json.dumps({"write": {}, "read": {str(repository): [{"pid": 1, "cmd": "dvc repro"}]}})
    repository.write_text(held)
    rwlock.mend()
    assert repository.read_text() == held
    repository.unlink()
    rwlock.mend()
    assert (repository.exists(), capsys.readouterr().out) == (False, "")


def test_a_note_that_dvc_is_writing_is_waited_for(repository: Path) -> None:
    """DVC holds its guard while it writes."""
    with repository.with_name("rwlock.lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        repository.write_text('{"write": {')
        mending = threading.Thread(target=rwlock.mend)
        mending.start()
        time.sleep(0.3)
        assert mending.is_alive()
        repository.write_text('{"write": {}, "read": {}}')
    mending.join(10)
    assert repository.read_text() == '{"write": {}, "read": {}}'


def test_dvc_waits_while_the_note_is_looked_at(repository: Path) -> None:
    with repository.with_name("rwlock.lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        stopped = subprocess.run([*DVC, "repro"], capture_output=True, text=True)
    assert stopped.returncode != 0
    assert "lock" in stopped.stderr
