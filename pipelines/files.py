"""Reads and writes records (Parquet in bounded batches), JSON and folders, whole or not at all.

Everything is written to a temporary name beside its target and renamed. A kill leaves the old file,
or none.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from pipelines.errors import UserError

Model = TypeVar("Model", bound=BaseModel)
ROWS_A_BATCH = 1024


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that replaces it when the block ends without an error.

    Raises UserError if the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}.", dir=target.parent))
    replacement = folder / target.name
    try:
        yield replacement
        if target.is_dir() and replacement.exists():
            target.rename(folder / "old")
        os.replace(replacement, target)
    except OSError as error:
        if not _is_full_disk(error):
            raise
        raise UserError(
            f"the disk is full while writing {target}: free some space and run the same command; "
            "nothing half-written was left"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_full_disk(error: OSError) -> bool:
    # The error of `shutil` for many files has no number, but the text of theirs.
    return error.errno == errno.ENOSPC or f"[Errno {errno.ENOSPC}]" in str(error)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left beside `target`."""
    for folder in target.parent.glob(f".{target.name}.*.*"):
        pid = folder.name.removeprefix(f".{target.name}.").split(".")[0]
        if pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write(
    path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]], rows_a_batch: int = ROWS_A_BATCH
) -> int:
    """Write rows in bounded batches, one row group each; returns their number.

    Raises ValueError if a row breaks the schema.
    """
    return write_batches(path, schema, _to_batches(rows, schema, rows_a_batch))


def write_batches(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], values_recur: bool = True
) -> int:
    """Write Arrow batches, one row group each; returns the number of their rows.

    Without `values_recur` no dictionary of values is made.
    """
    num_rows = 0
    with (
        replacing(path) as target,
        pq.ParquetWriter(
            target,
            schema,
            compression="zstd",
            use_dictionary=values_recur,
            write_page_checksum=True,
        ) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
            num_rows += batch.num_rows
    return num_rows


def _to_batches(
    rows: Iterable[dict[str, Any]], schema: pa.Schema, rows_a_batch: int
) -> Iterator[pa.RecordBatch]:
    batch_rows: list[dict[str, Any]] = []
    for row in rows:
        batch_rows.append(row)
        if len(batch_rows) == rows_a_batch:
            yield _to_batch(batch_rows, schema)
            batch_rows = []
    if batch_rows:
        yield _to_batch(batch_rows, schema)


def _to_batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    names = set(schema.names)
    for row in rows:
        if row.keys() != names:
            raise ValueError(f"row and schema differ in {sorted(row.keys() ^ names)}")
    try:
        batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    except pa.ArrowTypeError as error:
        raise ValueError(str(error)) from error
    for field in schema:
        if not field.nullable and batch.column(field.name).null_count:
            raise ValueError(f"column {field.name} may not be null")
    return batch


def read(
    path: Path, schema: pa.Schema, rows_a_batch: int = ROWS_A_BATCH
) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file.

    Raises UserError if it is missing, unreadable or of another schema.
    """
    for batch in batches(path, schema, rows_a_batch):
        yield from batch.to_pylist()


def batches(
    path: Path,
    schema: pa.Schema,
    rows_a_batch: int = ROWS_A_BATCH,
    columns: list[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows as Arrow batches of that many, the last one shorter.

    For callers that do not need every row, or column, as Python values. Raises as `read`.
    """
    with _open(path) as file:
        actual = file.schema_arrow.remove_metadata()
        if not actual.equals(schema.remove_metadata()):
            raise UserError(
                f"{path} has another schema than this code writes: `dvc repro` rebuilds it\n"
                f"  actual   {actual}\n"
                f"  expected {schema}"
            )
        yield from file.iter_batches(rows_a_batch, columns=columns)


def count(path: Path) -> int:
    """Rows of a Parquet file, by its footer."""
    with _open(path) as file:
        return int(file.metadata.num_rows)


def metadata(path: Path) -> dict[str, str]:
    """The metadata in the schema of a Parquet file: facts that travel with an artifact."""
    with _open(path) as file:
        entries = file.schema_arrow.metadata or {}
    facts: dict[str, str] = {}
    for key, value in entries.items():
        if not key.startswith(b"ARROW"):
            facts[key.decode()] = value.decode()
    return facts


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    _require(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path} cannot be read as Parquet ({error}): remove it, then `dvc repro` rebuilds it"
        ) from error


def _require(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path} is missing: `dvc repro` makes it, `dvc pull` fetches it")


def write_json(path: Path, value: BaseModel | dict[str, Any]) -> None:
    content = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    with replacing(path) as target:
        target.write_text(text, encoding="utf-8")


def write_secret(path: Path, text: str) -> None:
    """A text that its owner alone can read."""
    with replacing(path) as target:
        target.touch(mode=0o600)
        target.write_text(text, encoding="utf-8")


def read_json(path: Path, model: type[Model]) -> Model:
    """A JSON file as its model. Raises UserError that names file and key."""
    _require(path)
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not what this code reads: {error}") from error


def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's sorted relative names and contents."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for file_path in sorted(item for item in path.rglob("*") if item.is_file()):
        name = file_path.relative_to(path).as_posix()
        total.update(f"{name}\0{digest(file_path)}\n".encode())
    return total.hexdigest()


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
