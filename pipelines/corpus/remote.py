"""Fetches remote sources into snapshots: one module per family of sources yields the rows.

Only `python -m pipelines fetch` does this, never a stage. Documents stream into the snapshot, so
memory does not grow with the number of documents.
"""

from collections.abc import Callable, Iterator
from typing import Any

from pipelines import files
from pipelines.config.ingest import FilesSource, GitSource, HfSource, Source, SqlSource, WebSource
from pipelines.contracts.fetched import FETCHED, ROWS_A_BATCH
from pipelines.corpus import file_stores, repositories, tables, web
from pipelines.corpus.snapshots import FetchBounds, Row, snapshot_path

READERS: dict[type, Callable[[Any, FetchBounds], Iterator[Row]]] = {
    FilesSource: file_stores.read_files,
    WebSource: web.read_pages,
    SqlSource: tables.read_query,
    HfSource: tables.read_dataset,
    GitSource: repositories.read_repository,
}


def fetch(source: Source, max_bytes: int, allowed_hosts: tuple[str, ...] = ()) -> int:
    """Replace the source's snapshot; returns the number of documents.

    The previous snapshot stays if the source cannot be read to its end. `allowed_hosts` are those
    of FetchConfig.
    """
    bounds = FetchBounds(max_bytes, allowed_hosts)
    rows = READERS[type(source)](source, bounds)
    return files.write(snapshot_path(source.name), FETCHED, rows, ROWS_A_BATCH)
