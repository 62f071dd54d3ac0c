"""Snapshots of remote sources: one Parquet file a source, written by `fetch` and read by `ingest`.

DVC watches the folder of the snapshots, so a run depends on what was fetched and not on what a
site says today.
"""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from pipelines.config.ingest import FaqSource, FilesSource, PackagesSource, Source
from pipelines.corpus.problems import source_error, too_large

FOLDER = Path("data/raw/fetched")
OPTIONAL_COLUMNS = ("hint", "title", "problem", "etag", "modified")
Row = dict[str, Any]  # of contracts/fetched.py


def is_remote(source: Source) -> bool:
    """Whether the source must be fetched before `ingest` can read it."""
    if isinstance(source, FilesSource):
        return "://" in source.path
    return not isinstance(source, PackagesSource | FaqSource)


def snapshot_path(name: str) -> Path:
    """The snapshot of the source of this name."""
    return FOLDER / f"{name}.parquet"


def make_row(uri: str, content: bytes, max_bytes: int, **facts: str | None) -> Row:
    """A document's row; one that is too large has a problem instead of its content."""
    row = {**dict.fromkeys(OPTIONAL_COLUMNS), **facts, "uri": uri, "content": content}
    if len(content) > max_bytes:
        row |= {"content": b"", "problem": too_large(len(content), max_bytes)}
    return row


def expand_variables(url: str, name: str) -> str:
    """The URL with ${NAME} replaced by environment variables. Raises UserError if one is unset."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise source_error(name, f"the environment has no {match[1]}")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, url)


class FetchBounds(NamedTuple):
    """What a fetch may take: bytes of one document, and web hosts beyond those of the source."""

    max_bytes: int
    allowed_hosts: tuple[str, ...] = ()


class Validators(NamedTuple):
    """What a site said about a page, for a conditional request (RFC 9110, 8.8)."""

    etag: str | None = None
    last_modified: str | None = None


class Snapshot:
    """The previous snapshot of a source, opened for single rows; empty if there is none."""

    def __init__(self, path: Path):
        self._validators: dict[str, Validators] = {}
        self._positions: dict[str, tuple[int, int]] = {}  # row group, row in it
        self._file: Any = pq.ParquetFile(path) if path.exists() else None
        if self._file is not None:
            for group in range(self._file.num_row_groups):
                self._add_group(group)

    def _add_group(self, group: int) -> None:
        columns = ["uri", "etag", "modified", "problem"]
        rows = self._file.read_row_group(group, columns=columns).to_pylist()
        for number, row in enumerate(rows):
            if row["problem"] is None:
                self._positions[row["uri"]] = (group, number)
                self._validators[row["uri"]] = Validators(row["etag"], row["modified"])

    def validators(self, uri: str) -> Validators:
        """Of the document at its last fetch; empty for one that was not fetched."""
        return self._validators.get(uri, Validators())

    def row(self, uri: str) -> Row:
        """The row of a document that was fetched."""
        group, number = self._positions[uri]
        rows: list[Row] = self._file.read_row_group(group).slice(number, 1).to_pylist()
        return rows[0]
