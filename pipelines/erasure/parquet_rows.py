"""Removes rows of Parquet files whose schema is not this room's business."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import files


def keep(path: Path, mask: list[bool]) -> None:
    """Rewrite a file with the rows whose place in `mask` is True; its rights stay."""
    table = pq.read_table(path).filter(pa.array(mask, pa.bool_()))
    with files.replacing(path) as target:
        pq.write_table(table, target, compression="zstd")
        shutil.copymode(path, target)
