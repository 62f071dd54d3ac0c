import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.contracts import traffic as contract
from pipelines.serving import traffic

ROOT = Path(__file__).parents[3]
ROW: dict[str, Any] = {
    "release_id": "r-1", "question": "q \u2028 ä", "retrieved": [{"chunk_id": "c", "uri": "u", "score": 0.5}], "answer": "a", "status": "ok", "error": None, "refused": False, "guard_flags": ["x"], "groundedness": 0.5,
    "num_prompt_tokens": 3, "num_new_tokens": 2, "guard_ms": 0.1, "embed_ms": 1.0, "search_ms": 1.0, "generate_ms": 1.0, "total_ms": 4.0, "tenant": "t", "cost": 0.1,
}  # fmt: skip
WRITER = f"""
import sys, time
sys.modules["traffic"] = __import__("pipelines.contracts.traffic", fromlist=["traffic"])
from pathlib import Path
from pipelines.serving.inside.trafficlog import TrafficLog
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


def writer(folder: Path, count: int, name: str, end: str = "close") -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(count), name, end], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)


def written(folder: Path) -> list[str]:
    return sorted(row["request_id"] for path in (folder / "requests").glob("*.parquet") for row in files.read(path, contract.REQUESTS))


def test_a_clean_stop_loses_nothing_and_leaves_parquet_of_the_contract_alone(tmp_path: Path) -> None:
    started = writer(tmp_path, 5000, "a")
    assert started.wait(60) == 0
    assert written(tmp_path) == sorted(f"a-{number}" for number in range(5000))
    assert list((tmp_path / "requests").glob(".*")) == []
    row = next(files.read(next((tmp_path / "requests").glob("*.parquet")), contract.REQUESTS))
    assert {name: row[name] for name in ROW} == {**ROW, "cost": 0.1} | {name: pytest.approx(ROW[name]) for name in ("guard_ms", "groundedness")}


def test_a_kill_loses_at_most_the_last_second_and_the_next_start_completes_the_files(tmp_path: Path) -> None:
    started = writer(tmp_path, 500, "a", "stay")
    assert started.stdout is not None
    assert started.stdout.readline() == "added\n"
    time.sleep(1)
    started.send_signal(signal.SIGKILL)
    started.wait()
    journals = list((tmp_path / "requests").glob(".*.jsonl"))
    with journals[-1].open("a") as cut:
        cut.write('{"request_id": "half')  # what a kill in the middle of a write leaves
    assert [row["request_id"] for row in traffic.requests(tmp_path, 0.0)] == [f"a-{number}" for number in range(500)]
    assert writer(tmp_path, 3, "b").wait(60) == 0
    assert written(tmp_path) == sorted([*(f"a-{number}" for number in range(500)), *(f"b-{number}" for number in range(3))])


def test_a_journal_that_had_become_parquet_before_a_kill_is_not_written_twice(tmp_path: Path) -> None:
    started = writer(tmp_path, 10, "a", "stay")
    assert started.stdout is not None
    started.stdout.readline()
    time.sleep(1)
    started.send_signal(signal.SIGKILL)
    started.wait()
    (journal,) = (tmp_path / "requests").glob(".*.jsonl")
    content = journal.read_bytes()
    assert writer(tmp_path, 0, "b").wait(60) == 0
    journal.write_bytes(content)  # as if the kill had come between the rename and the removal
    assert writer(tmp_path, 0, "b").wait(60) == 0
    assert written(tmp_path) == sorted(f"a-{number}" for number in range(10))


def test_two_writers_at_once_do_not_touch_each_others_journals(tmp_path: Path) -> None:
    both = [writer(tmp_path, 800, name) for name in ("a", "b")]
    assert [one.wait(60) for one in both] == [0, 0]
    assert len(written(tmp_path)) == 1600
