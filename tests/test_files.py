import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel

from pipelines import files
from pipelines.errors import UserError

ROOT = Path(__file__).parents[1]
ROWS = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("size", pa.int8())])


class Score(BaseModel):
    name: str
    value: float


def test_rows_come_back_as_they_were_written_over_several_batches(tmp_path: Path) -> None:
    rows = [
        {"name": f"ä{number}", "size": number % 100 if number % 7 else None}
        for number in range(2 * files.ROWS_A_BATCH + 1)
    ]
    assert files.write(tmp_path / "rows.parquet", ROWS, iter(rows)) == 2 * files.ROWS_A_BATCH + 1
    assert list(files.read(tmp_path / "rows.parquet", ROWS)) == rows


def test_columns_are_read_alone_and_rows_are_the_same_without_a_dictionary(
    tmp_path: Path,
) -> None:
    rows = [{"name": f"ä{number}", "size": number} for number in range(100)]
    batch = pa.RecordBatch.from_pylist(rows, schema=ROWS)
    files.write_batches(tmp_path / "recur.parquet", ROWS, [batch])
    files.write_batches(tmp_path / "differ.parquet", ROWS, [batch], values_recur=False)
    recurring = tmp_path / "recur.parquet"
    different = tmp_path / "differ.parquet"
    assert list(files.read(recurring, ROWS)) == list(files.read(different, ROWS)) == rows
    assert different.stat().st_size < recurring.stat().st_size
    (sizes,) = files.batches(recurring, ROWS, columns=["size"])
    assert sizes.to_pydict() == {"size": list(range(100))}


def test_no_rows_make_a_file_without_rows(tmp_path: Path) -> None:
    assert files.write(tmp_path / "rows.parquet", ROWS, []) == 0
    assert list(files.read(tmp_path / "rows.parquet", ROWS)) == []


def test_facts_in_the_schema_travel_with_the_file_and_do_not_disturb_reading(
    tmp_path: Path,
) -> None:
    files.write(
        tmp_path / "rows.parquet",
        ROWS.with_metadata({"encoder": "mini"}),
        [{"name": "a", "size": 1}],
    )
    assert files.metadata(tmp_path / "rows.parquet") == {"encoder": "mini"}
    assert list(files.read(tmp_path / "rows.parquet", ROWS)) == [{"name": "a", "size": 1}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"name": "a"}, r"row and schema differ in \['size'\]"),
        ({"name": "a", "size": 1, "more": 2}, r"row and schema differ in \['more'\]"),
        ({"name": None, "size": 1}, "column name may not be null"),
        ({"name": 5, "size": 1}, "Expected bytes, got a 'int' object"),
        ({"name": "a", "size": 300}, "Value 300 too large"),
        ({"name": "\ud800", "size": 1}, "surrogates not allowed"),
    ],
)
def test_a_row_that_breaks_the_schema_is_an_error_wherever_it_stands_and_leaves_the_old_file(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    path = tmp_path / "rows.parquet"
    files.write(path, ROWS, [{"name": "old", "size": 1}])
    with pytest.raises(ValueError, match=message):
        files.write(path, ROWS, [{"name": "new", "size": 1}, row])
    assert list(files.read(path, ROWS)) == [{"name": "old", "size": 1}]
    assert os.listdir(tmp_path) == ["rows.parquet"]


def test_an_exception_in_the_middle_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.parquet"
    files.write(path, ROWS, [{"name": "old", "size": 1}])

    def broken() -> Iterator[dict[str, Any]]:
        for number in range(3 * files.ROWS_A_BATCH):
            yield {"name": f"new{number}", "size": 1}
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        files.write(path, ROWS, broken())
    assert list(files.read(path, ROWS)) == [{"name": "old", "size": 1}]
    assert os.listdir(tmp_path) == ["rows.parquet"]


def test_a_kill_in_the_middle_leaves_the_old_file_readable(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    files.write(path, ROWS, [{"name": "old", "size": 1}])
    code = """
import sys, time
from pathlib import Path
import pyarrow as pa
from pipelines import files
def rows():
    for number in range(3 * files.ROWS_A_BATCH):
        yield {"name": f"new{number}", "size": 1}
    print("in the middle", flush=True)
    time.sleep(60)
files.write(Path(sys.argv[1]), pa.schema([("name", pa.string()), ("size", pa.int8())]), rows())
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "in the middle\n"
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert list(files.read(path, ROWS)) == [{"name": "old", "size": 1}]
    assert files.write(path, ROWS, [{"name": "new", "size": 1}]) == 1
    assert list(files.read(path, ROWS)) == [{"name": "new", "size": 1}]


def test_a_full_disk_while_writing_rows_is_an_error_with_its_remedy_and_leaves_the_old_file(
    small_disk: Callable[[int], Path], tmp_path: Path
) -> None:
    small = small_disk(128)
    files.write(small / "rows.parquet", ROWS, [{"name": "old", "size": 1}])
    with pytest.raises(UserError) as caught:
        files.write(
            small / "rows.parquet",
            ROWS,
            ({"name": os.urandom(64).hex(), "size": 1} for _ in range(20_000)),
        )
    assert str(caught.value) == (
        f"the disk is full while writing {small}/rows.parquet: free some space and run the same "
        "command; nothing half-written was left"
    )
    assert list(files.read(small / "rows.parquet", ROWS)) == [{"name": "old", "size": 1}]
    assert os.listdir(small) == ["rows.parquet"]
    with pytest.raises(UserError, match="the disk is full while writing .*/note.txt"):
        files.write_text(small / "note.txt", "x" * 1_000_000)
    assert os.listdir(small) == ["rows.parquet"]
    for number in range(3):
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / f"many/{number}").write_bytes(bytes(100_000))
    with (
        pytest.raises(UserError, match="the disk is full while writing .*/copies"),
        files.replacing(small / "copies") as target,
    ):
        shutil.copytree(tmp_path / "many", target)
    assert os.listdir(small) == ["rows.parquet"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_within_a_replacement_is_an_error_with_its_remedy_and_leaves_the_old_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "note.txt").write_text("old")
    with (
        pytest.raises(
            UserError,
            match="the disk is full while writing .*/note.txt: free some space and run the same "
            "command",
        ),
        files.replacing(tmp_path / "note.txt"),
    ):
        Path("/dev/full").write_text("new")
    assert (tmp_path / "note.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_another_error_of_the_system_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, files.replacing(tmp_path / "note.txt"):
        Path(tmp_path / "gone").read_text()
    assert caught.value.errno == errno.ENOENT
    assert os.listdir(tmp_path) == []


def test_a_folder_replaces_the_old_folder_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/old.bin").write_text("old")
    with files.replacing(tmp_path / "model") as replacement:
        replacement.mkdir()
        (replacement / "new.bin").write_text("new")
        assert os.listdir(tmp_path / "model") == ["old.bin"]
    assert os.listdir(tmp_path / "model") == ["new.bin"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_stays_if_its_replacement_was_not_made(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/old.bin").write_text("old")
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "model"):
        pass
    assert (tmp_path / "model/old.bin").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_reading_a_missing_file_names_it_and_the_commands_that_make_it(tmp_path: Path) -> None:
    for read in (
        lambda: list(files.read(tmp_path / "gone", ROWS)),
        lambda: files.metadata(tmp_path / "gone"),
        lambda: files.read_json(tmp_path / "gone", Score),
    ):
        with pytest.raises(UserError) as caught:
            read()
        assert str(caught.value) == (
            f"{tmp_path}/gone is missing: `dvc repro` makes it, `dvc pull` fetches it"
        )


def test_reading_a_file_that_is_not_parquet_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    (tmp_path / "empty.parquet").write_text("")
    (tmp_path / "folder.parquet").mkdir()
    for name in ("text", "empty", "folder"):
        with pytest.raises(
            UserError,
            match=rf"{name}\.parquet cannot be read as Parquet \(.+\): remove it, "
            "then `dvc repro` rebuilds it",
        ):
            list(files.read(tmp_path / f"{name}.parquet", ROWS))


def test_a_file_damaged_in_the_middle_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    files.write(path, ROWS, ({"name": os.urandom(16).hex(), "size": 1} for _ in range(5000)))
    content = bytearray(path.read_bytes())
    content[2000:2400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"rows\.parquet cannot be read as Parquet \(.+\): remove it"
    ):
        list(files.read(path, ROWS))


def test_a_file_of_another_schema_shows_both(tmp_path: Path) -> None:
    files.write(
        tmp_path / "rows.parquet",
        pa.schema([("name", pa.string()), ("weight", pa.float32())]),
        [{"name": "a", "weight": 1.0}],
    )
    with pytest.raises(
        UserError,
        match=r"(?s)rows\.parquet has another schema than this code writes: "
        "`dvc repro` rebuilds it.*weight: float.*size: int8",
    ):
        list(files.read(tmp_path / "rows.parquet", ROWS))


def test_json_is_written_readably_and_read_as_its_model(tmp_path: Path) -> None:
    files.write_json(tmp_path / "deep/score.json", Score(name="Maß", value=0.5))
    text = (tmp_path / "deep/score.json").read_text(encoding="utf-8")
    assert text == '{\n "name": "Maß",\n "value": 0.5\n}\n'
    assert files.read_json(tmp_path / "deep/score.json", Score) == Score(name="Maß", value=0.5)


def test_json_takes_no_nan_and_the_old_file_stays(tmp_path: Path) -> None:
    files.write_json(tmp_path / "score.json", Score(name="a", value=0.5))
    for value in (Score(name="a", value=float("nan")), {"name": "a", "value": float("inf")}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            files.write_json(tmp_path / "score.json", value)
    assert files.read_json(tmp_path / "score.json", Score).value == 0.5


@pytest.mark.parametrize(
    ("content", "cause"), [(b'{"name": "a"}', "value"), (b"{", "Invalid JSON"), (b"\xff", "utf-8")]
)
def test_json_of_another_shape_names_file_and_key(
    tmp_path: Path, content: bytes, cause: str
) -> None:
    (tmp_path / "score.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"(?s)score\.json is not what this code reads: .*{cause}"):
        files.read_json(tmp_path / "score.json", Score)


def test_a_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    assert (
        files.digest(tmp_path / "a")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert files.text_digest("abc") == files.digest(tmp_path / "a")


def test_a_digest_of_a_folder_changes_with_content_and_names_and_not_with_the_order_of_writing(
    tmp_path: Path,
) -> None:
    contents = {"first": "ab", "reversed": "ba", "renamed": "ac", "changed": "ab"}
    for folder, names in contents.items():
        (tmp_path / folder / "deep").mkdir(parents=True)
        text = "changed" if folder == "changed" else "same"
        for name in names:
            (tmp_path / folder / "deep" / name).write_text(text)
    digests = {folder: files.digest(tmp_path / folder) for folder in contents}
    assert digests["first"] == digests["reversed"]
    assert len({digests["first"], digests["renamed"], digests["changed"]}) == 3
