"""Knows files: reading and writing records (Parquet in bounded batches), JSON and folders, whole or not at all.

Everything is written to a temporary name beside its target and renamed. A kill leaves the old file, or none.
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
    """A temporary path beside `target` that takes its place when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}.", dir=target.parent))
    made = folder / target.name
    try:
        yield made
        if target.is_dir() and made.exists():
            target.rename(folder / "old")
        os.replace(made, target)
    except OSError as error:
        if error.errno == errno.ENOSPC or f"[Errno {errno.ENOSPC}]" in str(error):  # shutil's own error of many files has no number
            raise UserError(f"the disk is full while writing {target}: free some space and run the same command; nothing half-written was left") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what killed processes left beside `target`."""
    for left in target.parent.glob(f".{target.name}.*.*"):
        pid = left.name.removeprefix(f".{target.name}.").split(".")[0]
        if pid.isdigit() and not _runs(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]], rows_a_batch: int = ROWS_A_BATCH) -> int:
    """Write rows in bounded batches, one row group each; returns their number. Raises ValueError where a row breaks the schema."""
    return write_batches(path, schema, _batches(rows, schema, rows_a_batch))


def write_batches(path: Path, schema: pa.Schema, made: Iterable[pa.RecordBatch], values_recur: bool = True) -> int:
    """Write Arrow batches, one row group each; returns the number of their rows. Without `values_recur` no dictionary of values is made."""
    num_rows = 0
    with replacing(path) as target, pq.ParquetWriter(target, schema, compression="zstd", use_dictionary=values_recur, write_page_checksum=True) as writer:
        for batch in made:
            writer.write_batch(batch)
            num_rows += batch.num_rows
    return num_rows


def _batches(rows: Iterable[dict[str, Any]], schema: pa.Schema, rows_a_batch: int) -> Iterator[pa.RecordBatch]:
    held: list[dict[str, Any]] = []
    for row in rows:
        held.append(row)
        if len(held) == rows_a_batch:
            yield _batch(held, schema)
            held = []
    if held:
        yield _batch(held, schema)


def _batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
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


def read(path: Path, schema: pa.Schema, rows_a_batch: int = ROWS_A_BATCH) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file. Raises UserError where it is missing, unreadable or of another schema."""
    for batch in batches(path, schema, rows_a_batch):
        yield from batch.to_pylist()


def batches(path: Path, schema: pa.Schema, rows_a_batch: int = ROWS_A_BATCH, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows as Arrow batches of that many, the last one shorter; for those who do not need every row, or column, as Python values."""
    with _opened(path) as file:
        found = file.schema_arrow.remove_metadata()
        if not found.equals(schema.remove_metadata()):
            raise UserError(f"{path} has another schema than this code writes: `dvc repro` makes it anew\n  found    {found}\n  expected {schema}")
        yield from file.iter_batches(rows_a_batch, columns=columns)


def count(path: Path) -> int:
    """Rows of a Parquet file, as its footer says."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def metadata(path: Path) -> dict[str, str]:
    """What the schema's metadata of a Parquet file says (facts that travel with an artifact)."""
    with _opened(path) as file:
        found = file.schema_arrow.metadata or {}
    return {key.decode(): value.decode() for key, value in found.items() if not key.startswith(b"ARROW")}


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    if not path.exists():
        raise UserError(f"{path} is missing: `dvc repro` makes it, `dvc pull` fetches it")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}): remove it, then `dvc repro` makes it anew") from error


def write_json(path: Path, value: BaseModel | dict[str, Any]) -> None:
    content = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    with replacing(path) as target:
        target.write_text(text, encoding="utf-8")


def read_json(path: Path, model: type[Model]) -> Model:
    """A JSON file as its model. Raises UserError that names file and key."""
    if not path.exists():
        raise UserError(f"{path} is missing: `dvc repro` makes it, `dvc pull` fetches it")
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not what this code reads: {error}") from error


def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's sorted relative names and contents."""
    total = hashlib.sha256()
    if not path.is_dir():
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return total.hexdigest()


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
