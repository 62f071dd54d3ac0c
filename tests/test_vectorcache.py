import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines import vectorcache
from pipelines.errors import UserError

ROOT = Path(__file__).parents[1]
WRITE = """
import sys
from pathlib import Path
import numpy as np
from pipelines import vectorcache
path, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with vectorcache.opened(path, "mini") as cache:
    for number in range(rounds):
        cache.put([f"{name}-{number}-{place}" for place in range(10)], np.full((10, 384), number, dtype=np.float32))
        print(number, flush=True)
"""


def writer(path: Path, name: str, rounds: int) -> "subprocess.Popen[str]":
    """Another process that adds `rounds` times ten vectors once a line comes to its standard input."""
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(path), name, str(rounds)], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_vectors_come_back_bit_by_bit_and_unknown_digests_are_left_out(tmp_path: Path) -> None:
    vectors = np.array([[0.1, -0.0, 3e-40], [1 / 3, 2, 5]], dtype=np.float32)
    with vectorcache.opened(tmp_path / "deep/vectors.sqlite", "mini") as cache:
        cache.put(["a", "b"], vectors)
    with vectorcache.opened(tmp_path / "deep/vectors.sqlite", "mini") as cache:
        found = cache.get(["b", "c", "a"])
    assert found.keys() == {"a", "b"}
    assert found["a"].tobytes() == vectors[0].tobytes()
    assert found["b"].tobytes() == vectors[1].tobytes()


def test_another_encoder_or_precision_finds_nothing_of_it(tmp_path: Path) -> None:
    with vectorcache.opened(tmp_path / "vectors.sqlite", "mini/fp32") as cache:
        cache.put(["a"], np.array([[1.0]], dtype=np.float32))
    with vectorcache.opened(tmp_path / "vectors.sqlite", "mini/bf16") as cache:
        assert cache.get(["a"]) == {}
        cache.put(["a"], np.array([[2.0]], dtype=np.float32))
    with vectorcache.opened(tmp_path / "vectors.sqlite", "mini/fp32") as cache:
        assert cache.get(["a"])["a"].tolist() == [1.0]


def test_more_digests_than_one_query_takes_are_all_found(tmp_path: Path) -> None:
    digests = [str(number) for number in range(40_000)]
    with vectorcache.opened(tmp_path / "vectors.sqlite", "mini") as cache:
        cache.put(digests, np.arange(40_000, dtype=np.float32).reshape(-1, 1))
        found = cache.get(iter(digests))
    assert {digest: float(vector[0]) for digest, vector in found.items()} == {digest: float(digest) for digest in digests}


def test_writers_that_open_a_new_cache_at_once_and_write_together_lose_nothing(tmp_path: Path) -> None:
    processes = {name: writer(tmp_path / "vectors.sqlite", name, 20) for name in "abcdef"}
    for process in processes.values():
        begin(process)
    for process in processes.values():
        process.communicate(timeout=60)
        assert process.returncode == 0
    with vectorcache.opened(tmp_path / "vectors.sqlite", "mini") as cache:
        found = cache.get(f"{name}-{number}-{place}" for name in processes for number in range(20) for place in range(10))
    assert len(found) == 6 * 20 * 10
    assert all(vector.tolist() == [float(digest.split("-")[1])] * 384 for digest, vector in found.items())


def test_a_killed_writer_leaves_what_it_had_put_and_the_next_one_continues(tmp_path: Path) -> None:
    process = writer(tmp_path / "vectors.sqlite", "a", 1_000_000)
    begin(process)
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    told += process.stdout.readlines()
    process.wait()
    rounds = len([line for line in told if line.endswith("\n")])
    with vectorcache.opened(tmp_path / "vectors.sqlite", "mini") as cache:
        found = cache.get(f"a-{number}-{place}" for number in range(rounds) for place in range(10))
        assert len(found) == 10 * rounds >= 200
        assert {vector.shape for vector in found.values()} == {(384,)}
        cache.put(["next"], np.ones((1, 384), dtype=np.float32))
        assert cache.get(["next"])["next"].tolist() == [1.0] * 384
    with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) % 10 FROM vectors WHERE digest != 'next'").fetchone() == (0,)  # whole batches alone


def test_a_damaged_cache_is_an_error_that_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    with vectorcache.opened(path, "one encoder") as cache:
        cache.put([f"digest {number}" for number in range(2000)], np.ones((2000, 4), dtype=np.float32))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)

    with pytest.raises(UserError, match=r"vectors\.sqlite is damaged .*: remove it and run the same command"), vectorcache.opened(path, "one encoder") as cache:
        cache.get([f"digest {number}" for number in range(2000)])

    path.unlink()
    with vectorcache.opened(path, "one encoder") as cache:
        assert cache.get(["digest 1"]) == {}


def test_a_cache_that_cannot_be_written_is_an_error_and_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    vectors = np.ones((50, 4000), dtype=np.float32)
    with vectorcache.opened(path, "one encoder") as cache:
        cache.put(["first"], vectors[:1])

    def fill() -> None:
        with vectorcache.opened(path, "one encoder") as cache:
            cache._connection.execute("PRAGMA max_page_count = 10")
            cache.put([f"digest {number}" for number in range(50)], vectors)

    with pytest.raises(UserError, match=r"vectors\.sqlite cannot be written or read: database or disk is full"):
        fill()

    with vectorcache.opened(path, "one encoder") as cache:
        assert list(cache.get(["first"])) == ["first"]
