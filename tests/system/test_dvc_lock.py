"""DVC's record of readers and writers, half-written by a kill or a full disk, with the real DVC."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

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
    reader = {"pid": 1, "cmd": "dvc repro"}
    content = json.dumps({"write": {}, "read": {str(record): [reader]}})
    record.write_text(content)
    dvc_lock.repair()
    assert record.read_text() == content
    record.unlink()
    dvc_lock.repair()
    assert not record.exists()
    assert capsys.readouterr().out == ""


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
