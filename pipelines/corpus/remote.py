"""Fetches remote sources into snapshots: one module per family of sources yields the rows.

Only `python -m pipelines fetch` does this, never a stage. Documents stream into the snapshot, so
memory does not grow with the number of documents.
"""

from collections.abc import Iterator

from pipelines import files
from pipelines.config.ingest import FilesSource, GitSource, HfSource, Source, SqlSource, WebSource
from pipelines.contracts.fetched import FETCHED, ROWS_A_BATCH
from pipelines.corpus import file_stores, repositories, tables, web
from pipelines.corpus.snapshots import FetchBounds, Row, snapshot_path


def fetch(source: Source, max_bytes: int, allowed_hosts: tuple[str, ...] = ()) -> int:
    """Replace the source's snapshot; returns the number of documents.

    The previous snapshot stays if the source cannot be read to its end. `allowed_hosts` are those
    of FetchConfig.
    """
    rows = _read(source, FetchBounds(max_bytes, allowed_hosts))
    return files.write(snapshot_path(source.name), FETCHED, rows, ROWS_A_BATCH)


def _read(source: Source, bounds: FetchBounds) -> Iterator[Row]:
    """The documents of a source. A new kind of source has a line here."""
    match source:
        case FilesSource():
            return file_stores.read_files(source, bounds)
        case WebSource():
            return web.read_pages(source, bounds)
        case SqlSource():
            return tables.read_query(source, bounds.max_bytes)
        case HfSource():
            return tables.read_dataset(source, bounds.max_bytes)
        case GitSource():
            return repositories.read_repository(source, bounds.max_bytes)
    raise AssertionError(f"{source.kind} is not fetched")
