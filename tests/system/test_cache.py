import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines import files
from pipelines.errors import UserError
from pipelines.system.cache import keys_of, kind_of, open_cache, open_vector_cache

ROOT = Path(__file__).parents[2]
NAMES = pa.schema([pa.field("name", pa.string()), pa.field("size", pa.int64())])
WRITE_VECTORS = """
import sys
from pathlib import Path
import numpy as np
from pipelines.system.cache import open_vector_cache
path, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with open_vector_cache(path, "mini") as cache:
    for number in range(rounds):
        vector = np.full(384, number, dtype=np.float32)
        cache.put({f"{name}-{number}-{column}": vector for column in range(10)})
        print(number, flush=True)
"""


def start_writer(path: Path, name: str, rounds: int) -> "subprocess.Popen[str]":
    """A process that adds `rounds` times ten vectors after a line on its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_VECTORS, str(path), name, str(rounds)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def vector_keys(name: str, rounds: int) -> list[str]:
    """The keys that a writer adds."""
    return [f"{name}-{index // 10}-{index % 10}" for index in range(10 * rounds)]


def test_json_values_come_back_by_key_and_kind_alone(tmp_path: Path) -> None:
    with open_cache(tmp_path / "deep/work.sqlite", "read/1") as cache:
        cache.put({"a": {"text": "Grüße \ud800", "pages": [1, 2]}, "b": None, "c": [1.5]})
        assert cache.get_many(["a", "c", "gone"]) == {
            "a": {"text": "Grüße \ud800", "pages": [1, 2]},
            "c": [1.5],
        }
        assert cache.get("c") == [1.5]
        assert cache.get("gone") is None
        assert cache.present(["a", "b", "gone"]) == {"a", "b"}
    with open_cache(tmp_path / "deep/work.sqlite", "read/2") as next_cache:
        assert next_cache.present(["a", "b", "c"]) == set()


def test_a_value_written_again_replaces_the_older_one(tmp_path: Path) -> None:
    with open_cache(tmp_path / "work.sqlite", "k") as cache:
        cache.put({"a": 1})
        cache.put({"a": 2})
        assert cache.get("a") == 2


def test_vectors_come_back_bit_by_bit_and_unknown_digests_are_left_out(tmp_path: Path) -> None:
    vectors = np.array([[0.1, -0.0, 3e-40], [1 / 3, 2, 5]], dtype=np.float32)
    with open_vector_cache(tmp_path / "deep/vectors.sqlite", "mini") as cache:
        cache.put({"a": vectors[0], "b": vectors[1]})
    with open_vector_cache(tmp_path / "deep/vectors.sqlite", "mini") as cache:
        vectors_by_key = cache.get_many(["b", "c", "a"])
    assert vectors_by_key.keys() == {"a", "b"}
    assert vectors_by_key["a"].tobytes() == vectors[0].tobytes()
    assert vectors_by_key["b"].tobytes() == vectors[1].tobytes()


def test_another_encoder_or_precision_gets_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    with open_vector_cache(path, "mini/fp32") as cache:
        cache.put({"a": np.array([1.0], dtype=np.float32)})
    with open_vector_cache(path, "mini/bf16") as cache:
        assert cache.get_many(["a"]) == {}
        assert cache.sample() is None
        cache.put({"a": np.array([2.0, 0.0], dtype=np.float32)})
    with open_vector_cache(path, "mini/fp32") as cache:
        assert cache.get_many(["a"])["a"].tolist() == [1.0]
        sample = cache.sample()
        assert sample is not None
        assert sample.tolist() == [1.0]


def test_more_keys_than_one_query_takes_are_all_there(tmp_path: Path) -> None:
    with open_cache(tmp_path / "work.sqlite", "k") as cache:
        values = {str(number): number for number in range(1200)}
        cache.put(values)
        assert cache.get_many(map(str, range(1200))) == values
        assert len(cache.present(map(str, range(1300)))) == 1200
    digests = [str(number) for number in range(40_000)]
    with open_vector_cache(tmp_path / "vectors.sqlite", "mini") as vector_cache:
        vectors = np.arange(40_000, dtype=np.float32).reshape(-1, 1)
        vector_cache.put(dict(zip(digests, vectors, strict=True)))
        vectors_by_key = vector_cache.get_many(iter(digests))
    assert vectors_by_key.keys() == set(digests)
    for digest, vector in vectors_by_key.items():
        assert vector.tolist() == [float(digest)]


def test_files_of_earlier_versions_are_still_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "work.sqlite") as connection:
        connection.execute(
            "CREATE TABLE work (kind TEXT, key TEXT, value BLOB, PRIMARY KEY (kind, key))"
        )
        content = bytes.fromhex("78018b36d4338d050003e1014d")  # [1.5], compressed
        connection.execute("INSERT INTO work VALUES ('k', 'a', ?)", [content])
    with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
        connection.execute(
            "CREATE TABLE vectors (kind TEXT, digest TEXT, vector BLOB, PRIMARY KEY (kind, digest))"
        )
        content = bytes.fromhex("0000803f")
        connection.execute("INSERT INTO vectors VALUES ('mini', 'a', ?)", [content])
    with open_cache(tmp_path / "work.sqlite", "k") as cache:
        assert cache.get("a") == [1.5]
    with open_vector_cache(tmp_path / "vectors.sqlite", "mini") as vector_cache:
        assert vector_cache.get_many(["a"])["a"].tolist() == [1.0]


def test_values_outlive_a_kill(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from pipelines.system.cache import open_cache
with open_cache(Path({str(tmp_path / "work.sqlite")!r}), "k") as cache:
    cache.put({{"a": 1}})
    os.kill(os.getpid(), 9)
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert process.returncode == -9
    with open_cache(tmp_path / "work.sqlite", "k") as cache:
        assert cache.get("a") == 1


def test_writers_in_one_process_wait_for_each_other(tmp_path: Path) -> None:
    def write(start: int) -> None:
        with open_cache(tmp_path / "work.sqlite", "k") as cache:
            for number in range(start, start + 50):
                cache.put({str(number): number})

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 50, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_cache(tmp_path / "work.sqlite", "k") as cache:
        assert len(cache.present(map(str, range(150)))) == 150


def test_writers_that_open_a_new_cache_at_once_and_write_together_lose_nothing(
    tmp_path: Path,
) -> None:
    processes = {name: start_writer(tmp_path / "vectors.sqlite", name, 20) for name in "abcdef"}
    for process in processes.values():
        begin(process)
    for process in processes.values():
        process.communicate(timeout=60)
        assert process.returncode == 0
    keys: list[str] = []
    for name in processes:
        keys += vector_keys(name, 20)
    with open_vector_cache(tmp_path / "vectors.sqlite", "mini") as cache:
        vectors_by_key = cache.get_many(keys)
    assert len(vectors_by_key) == 6 * 20 * 10
    for key, vector in vectors_by_key.items():
        assert vector.tolist() == [float(key.split("-")[1])] * 384


def test_a_killed_writer_leaves_what_it_had_put_and_the_next_one_continues(tmp_path: Path) -> None:
    process = start_writer(tmp_path / "vectors.sqlite", "a", 1_000_000)
    begin(process)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    rounds = len([line for line in lines if line.endswith("\n")])
    with open_vector_cache(tmp_path / "vectors.sqlite", "mini") as cache:
        vectors_by_key = cache.get_many(vector_keys("a", rounds))
        assert len(vectors_by_key) == 10 * rounds >= 200
        assert {vector.shape for vector in vectors_by_key.values()} == {(384,)}
        cache.put({"next": np.ones(384, dtype=np.float32)})
        assert cache.get_many(["next"])["next"].tolist() == [1.0] * 384
    with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # Only whole batches.
        assert connection.execute(
            "SELECT count(*) % 10 FROM vectors WHERE digest != 'next'"
        ).fetchone() == (0,)


def test_a_file_that_is_not_a_cache_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "work.sqlite").write_text("no database at all, but long enough to look at")
    with (
        pytest.raises(
            UserError, match=r"work\.sqlite is damaged .*: remove it and run the same command"
        ),
        open_cache(tmp_path / "work.sqlite", "k"),
    ):
        pass


def test_a_damaged_cache_is_an_error_that_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    digests = [f"digest {number}" for number in range(2000)]
    with open_vector_cache(path, "one encoder") as cache:
        cache.put(dict.fromkeys(digests, np.ones(4, dtype=np.float32)))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)

    with (
        pytest.raises(
            UserError, match=r"vectors\.sqlite is damaged .*: remove it and run the same command"
        ),
        open_vector_cache(path, "one encoder") as cache,
    ):
        cache.get_many(digests)

    path.unlink()
    with open_vector_cache(path, "one encoder") as cache:
        assert cache.get_many(["digest 1"]) == {}


def test_a_cache_that_cannot_be_written_is_an_error_and_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    vector = np.ones(4000, dtype=np.float32)
    with open_vector_cache(path, "one encoder") as cache:
        cache.put({"first": vector})

    def fill() -> None:
        with open_vector_cache(path, "one encoder") as cache:
            cache._connection.execute("PRAGMA max_page_count = 10")
            cache.put({f"digest {number}": vector for number in range(50)})

    with pytest.raises(
        UserError, match=r"vectors\.sqlite cannot be written or read: database or disk is full"
    ):
        fill()

    with open_vector_cache(path, "one encoder") as cache:
        assert list(cache.get_many(["first"])) == ["first"]


def test_the_kind_changes_with_code_settings_and_versions(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("1")
    first = kind_of("read", [code], "{}", ["pydantic"])
    with_settings = kind_of("read", [code], '{"a": 1}', ["pydantic"])
    with_libraries = kind_of("read", [code], "{}", ["pydantic", "numpy"])
    assert first.startswith("read/")
    assert kind_of("read", [code], "{}", ["pydantic"]) == first
    assert len({first, with_settings, with_libraries}) == 3
    code.write_text("2")
    assert kind_of("read", [code], "{}", ["pydantic"]) != first


def test_missing_rows_come_once_a_key_and_finished_rows_with_their_values_in_order(
    tmp_path: Path,
) -> None:
    path = tmp_path / "names.parquet"
    rows = [{"name": f"n{number % 1500}", "size": number} for number in range(3000)]
    files.write(path, NAMES, rows)
    keys = keys_of(path, NAMES, ["name"], str)
    assert keys[1600] == "{'name': 'n100'}"
    values: list[object] = []
    sizes: list[dict[str, int]] = []
    with open_cache(tmp_path / "work.sqlite", "k") as cache:
        cache.put({key: key for key in keys[:100]})
        missing = list(cache.missing_rows(path, NAMES, keys))
        assert missing == [(keys[number], rows[number]) for number in range(100, 1500)]
        cache.put({key: row["size"] for key, row in missing})
        assert list(cache.missing_rows(path, NAMES, keys)) == []
        for batch, batch_values in cache.rows_with_values(path, NAMES, keys, ["size"]):
            sizes += batch.to_pylist()
            values += batch_values
    assert sizes == [{"size": number} for number in range(3000)]
    assert values == [
        keys[number] if number % 1500 < 100 else number % 1500 for number in range(3000)
    ]
