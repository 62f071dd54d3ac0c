import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import files, workcache
from pipelines.errors import UserError

ROOT = Path(__file__).parents[1]


def test_values_come_back_by_key_and_kind_alone(tmp_path: Path) -> None:
    with workcache.opened(tmp_path / "deep/work.sqlite", "read/1") as cache:
        cache.put({"a": {"text": "Grüße \ud800", "pages": [1, 2]}, "b": None, "c": [1.5]})
        assert cache.many(["a", "c", "gone"]) == {"a": {"text": "Grüße \ud800", "pages": [1, 2]}, "c": [1.5]}
        assert (cache.get("c"), cache.get("gone")) == ([1.5], None)
        assert cache.known(["a", "b", "gone"]) == {"a", "b"}
    with workcache.opened(tmp_path / "deep/work.sqlite", "read/2") as other:
        assert other.known(["a", "b", "c"]) == set()


def test_a_value_written_again_replaces_the_older_one(tmp_path: Path) -> None:
    with workcache.opened(tmp_path / "work.sqlite", "k") as cache:
        cache.put({"a": 1})
        cache.put({"a": 2})
        assert cache.get("a") == 2


def test_more_keys_than_one_query_takes_are_found(tmp_path: Path) -> None:
    with workcache.opened(tmp_path / "work.sqlite", "k") as cache:
        cache.put({str(number): number for number in range(1200)})
        assert cache.many(map(str, range(1200))) == {str(number): number for number in range(1200)}
        assert len(cache.known(map(str, range(1300)))) == 1200


def test_what_was_put_outlives_a_kill(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from pipelines import workcache
from pipelines.errors import UserError
with workcache.opened(Path({str(tmp_path / "work.sqlite")!r}), "k") as cache:
    cache.put({{"a": 1}})
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -9
    with workcache.opened(tmp_path / "work.sqlite", "k") as cache:
        assert cache.get("a") == 1


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    def write(start: int) -> None:
        with workcache.opened(tmp_path / "work.sqlite", "k") as cache:
            for number in range(start, start + 50):
                cache.put({str(number): number})

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 50, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with workcache.opened(tmp_path / "work.sqlite", "k") as cache:
        assert len(cache.known(map(str, range(150)))) == 150


def test_a_file_that_is_no_cache_is_told(tmp_path: Path) -> None:
    (tmp_path / "work.sqlite").write_text("no database at all, but long enough to look at")
    with pytest.raises(UserError, match=r"work\.sqlite is damaged .*: remove it and run the same command"), workcache.opened(tmp_path / "work.sqlite", "k"):
        pass


def test_the_kind_changes_with_code_settings_and_versions(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("1")
    first = workcache.kind("read", [code], "{}", ["pydantic"])
    assert first.startswith("read/")
    assert workcache.kind("read", [code], "{}", ["pydantic"]) == first
    assert len({first, workcache.kind("read", [code], '{"a": 1}', ["pydantic"]), workcache.kind("read", [code], "{}", ["pydantic", "numpy"])}) == 3
    code.write_text("2")
    assert workcache.kind("read", [code], "{}", ["pydantic"]) != first


NAMES = pa.schema([pa.field("name", pa.string()), pa.field("size", pa.int64())])


def test_what_is_missing_is_told_once_a_key_and_what_is_done_comes_with_its_rows_in_order(tmp_path: Path) -> None:
    path = tmp_path / "names.parquet"
    rows = [{"name": f"n{number % 1500}", "size": number} for number in range(3000)]
    files.write(path, NAMES, rows)
    keys = workcache.keys_of(path, NAMES, ["name"], str)
    assert keys[1600] == "{'name': 'n100'}"
    with workcache.opened(tmp_path / "work.sqlite", "k") as cache:
        cache.put({key: key for key in keys[:100]})
        missing = list(cache.to_do(path, NAMES, keys))
        assert missing == [(keys[number], rows[number]) for number in range(100, 1500)]
        cache.put({key: row["size"] for key, row in missing})
        assert list(cache.to_do(path, NAMES, keys)) == []
        done = [(row, value) for batch, values in cache.done(path, NAMES, keys, ["size"]) for row, value in zip(batch.to_pylist(), values, strict=True)]
    assert done == [({"size": number}, keys[number] if number % 1500 < 100 else number % 1500) for number in range(3000)]
