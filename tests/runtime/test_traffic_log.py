import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import pytest

from pipelines import files
from pipelines.contracts.traffic import REQUESTS
from pipelines.runtime import traffic_log
from pipelines.runtime.traffic_log import TrafficLog
from pipelines.serving import recent_traffic

ROOT = Path(__file__).parents[2]
ROW: dict[str, Any] = {
    "release_id": "r-1",
    "question": "q \u2028 ä",
    "retrieved": [{"chunk_id": "c", "uri": "u", "score": 0.5}],
    "answer": "a",
    "status": "ok",
    "error": None,
    "refused": False,
    "guard_flags": ["x"],
    "groundedness": 0.5,
    "num_prompt_tokens": 3,
    "num_new_tokens": 2,
    "guard_ms": 0.1,
    "embed_ms": 1.0,
    "search_ms": 1.0,
    "generate_ms": 1.0,
    "total_ms": 4.0,
    "tenant": "t",
    "position": 0.5,
    "cost": 0.1,
}
WRITER = f"""
import sys, time
from pathlib import Path
from pipelines.runtime.traffic_log import TrafficLog
log = TrafficLog(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    log.add({ROW!r} | {{"request_id": f"{{sys.argv[3]}}-{{number}}", "time": time.time()}})
    if number % 50 == 0:
        time.sleep(0.01)
print("added", flush=True)
if sys.argv[4] == "stay":
    time.sleep(60)
log.close()
"""


def start_writer(
    folder: Path, count: int, name: str, end: str = "close"
) -> "subprocess.Popen[str]":
    """A process that logs so many rows, and then closes the log or stays until it is killed."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(count), name, end],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_after_a_second(writer: "subprocess.Popen[str]") -> None:
    """Kill a writer one second after it has added its rows."""
    assert writer.stdout is not None
    assert writer.stdout.readline() == "added\n"
    time.sleep(1)
    writer.send_signal(signal.SIGKILL)
    writer.wait()


def logged_ids(folder: Path) -> list[str]:
    """Request ids in the Parquet files, sorted."""
    request_ids: list[str] = []
    for path in (folder / "requests").glob("*.parquet"):
        request_ids += [row["request_id"] for row in files.read(path, REQUESTS)]
    return sorted(request_ids)


def check_modes(folder: Path) -> None:
    """Nobody but the owner reads what people asked."""
    assert (folder / "requests").stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o777 for path in (folder / "requests").iterdir()}
    assert modes == {0o600}


def test_a_clean_stop_loses_nothing_and_leaves_parquet_of_the_contract_alone(
    tmp_path: Path,
) -> None:
    assert start_writer(tmp_path, 5000, "a").wait(60) == 0
    assert logged_ids(tmp_path) == sorted(f"a-{number}" for number in range(5000))
    assert list((tmp_path / "requests").glob(".*")) == []
    check_modes(tmp_path)
    path = next((tmp_path / "requests").glob("*.parquet"))
    row = next(files.read(path, REQUESTS))
    single_precision = {name: pytest.approx(ROW[name]) for name in ("guard_ms", "groundedness")}
    assert {name: row[name] for name in ROW} == {**ROW, "cost": 0.1} | single_precision


def test_a_kill_loses_at_most_the_last_second_and_the_next_start_completes_the_files(
    tmp_path: Path,
) -> None:
    kill_after_a_second(start_writer(tmp_path, 500, "a", "stay"))
    check_modes(tmp_path)
    journals = list((tmp_path / "requests").glob(".*.jsonl"))
    with journals[-1].open("a") as journal:
        journal.write('{"request_id": "half')  # what a kill in the middle of a write leaves
    first_ids = [f"a-{number}" for number in range(500)]
    recent = recent_traffic.requests(tmp_path, 0.0)
    assert [row["request_id"] for row in recent] == first_ids
    assert start_writer(tmp_path, 3, "b").wait(60) == 0
    assert logged_ids(tmp_path) == sorted([*first_ids, "b-0", "b-1", "b-2"])


def test_a_journal_that_had_become_parquet_before_a_kill_is_not_written_twice(
    tmp_path: Path,
) -> None:
    kill_after_a_second(start_writer(tmp_path, 10, "a", "stay"))
    (journal,) = (tmp_path / "requests").glob(".*.jsonl")
    content = journal.read_bytes()
    assert start_writer(tmp_path, 0, "b").wait(60) == 0
    journal.write_bytes(content)  # as if the kill had come between the rename and the removal
    assert start_writer(tmp_path, 0, "b").wait(60) == 0
    assert logged_ids(tmp_path) == sorted(f"a-{number}" for number in range(10))


def test_a_new_journal_that_somebody_takes_for_a_killed_servers_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its creation and its lock another server, or `forget`, may recover journals."""
    lock = fcntl.flock
    num_recoveries = 0

    def lock_late(journal: TextIO, mode: int) -> None:
        nonlocal num_recoveries
        if mode == fcntl.LOCK_EX and num_recoveries < 2:
            num_recoveries += 1
            traffic_log.recover(tmp_path / "requests")
        lock(journal, mode)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    log = TrafficLog(tmp_path)
    for number in range(3):
        log.add({**ROW, "request_id": f"a-{number}", "time": 1.0, "cost": 0.1})
    log.close()
    assert num_recoveries == 2
    assert logged_ids(tmp_path) == ["a-0", "a-1", "a-2"]
    assert list((tmp_path / "requests").glob(".*")) == []


def test_two_writers_at_once_do_not_touch_each_others_journals(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, 800, name) for name in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(logged_ids(tmp_path)) == 1600
