"""Says whether a file speaks of a subject, by its content and not by its name."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.erasure.subject import Subject, json_or_text

PARQUET = b"PAR1"
SQLITE = b"SQLite format 3\x00"
HEAD_BYTES = 65_536
ROWS_A_BATCH = 1024


def is_readable(path: Path) -> bool:
    """Whether a file holds text or Parquet; weights, pictures and databases do not."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return head.startswith(PARQUET) or b"\0" not in head


def speaks_of(path: Path, subject: Subject) -> bool:
    """Whether a readable file speaks of the subject.

    Raises OSError if it cannot be read, and ArrowException if it is damaged Parquet.
    """
    with path.open("rb") as file:
        if file.read(len(PARQUET)) == PARQUET:
            return _parquet_speaks_of(path, subject)
    text = path.read_text(encoding="utf-8", errors="replace")
    if subject.is_in_text(text):
        return True
    # JSON may write a letter as \u00e9.
    if "\\" not in text:
        return False
    value = json_or_text(text)
    if not isinstance(value, str):
        return subject.is_in(value)
    return any(subject.is_in(json_or_text(line)) for line in text.splitlines())


def _parquet_speaks_of(path: Path, subject: Subject) -> bool:
    with pq.ParquetFile(path) as file:
        columns = [field.name for field in file.schema_arrow if _has_text(field.type)]
        for batch in file.iter_batches(ROWS_A_BATCH, columns=columns):
            if any(subject.is_in(row) for row in batch.to_pylist()):
                return True
    return False


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_text(kind.field(number).type) for number in range(kind.num_fields))
    return not pa.types.is_primitive(kind)  # numbers, times and the like
