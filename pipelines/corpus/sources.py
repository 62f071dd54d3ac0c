"""Knows where documents come from: one function a source kind.

A source yields a Found for every document that it has, one after the other. A new kind: one function here, one model in
config/ingest.py, one line in `_KINDS`.
"""

import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipelines import files
from pipelines.config.ingest import FilesSource, PackagesSource, Source
from pipelines.contracts.fetched import FETCHED, ROWS_A_BATCH
from pipelines.corpus import remote
from pipelines.corpus.detection import TEXTS
from pipelines.errors import UserError


class Found(NamedTuple):
    """One document as its source gives it. `problem` says why there is no content."""

    uri: str
    content: bytes
    hint: str | None = None  # media type that the source says; it decides between kinds of text alone
    title: str | None = None
    problem: str | None = None


def read_files(source: FilesSource, pins: dict[str, str], max_bytes: int) -> Iterator[Found]:
    """Files below a folder that match the globs. Raises UserError where the folder is missing or nothing matches."""
    folder = Path(source.path)
    if not folder.is_dir():
        raise UserError(f"params.yaml: ingest.sources: source {source.name}: the folder {folder} is not there. Create it, or correct `path`")
    names = sorted(name for name in {os.fspath(path) for glob in source.globs for path in folder.glob(glob)} if os.path.isfile(name))  # as text: Path objects take three times as long
    if not names:
        raise UserError(f"params.yaml: ingest.sources: source {source.name}: no file in {folder} matches {source.globs}")
    for name in names:
        uri = f"{source.name}/{name.removeprefix(os.path.join(folder, ''))}"
        if not _is_utf8(uri):
            yield Found(uri.encode("utf-8", "backslashreplace").decode(), b"", problem="its file name is not UTF-8: rename it")
            continue
        with open(name, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.readall() if size <= max_bytes else b""
        yield Found(uri, content, problem=None if size <= max_bytes else f"has {size:,} bytes, more than ingest.limits.max_document_mib allows ({max_bytes:,} bytes)")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_packages(source: PackagesSource, pins: dict[str, str], max_bytes: int) -> Iterator[Found]:
    """Descriptions of installed packages, in the version that the lock pins."""
    for name in sorted(source.packages):
        uri = f"{source.name}/{name}"
        try:
            found: Any = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise UserError(
                f"params.yaml: ingest.sources: source {source.name}: package `{name}` is not installed. Remove it from the list, or add it to pyproject.toml and run `make lock setup`"
            ) from error
        if pins.get(_normal(name)) not in (None, found["Version"]):
            yield Found(uri, b"", problem=f"version {found['Version']} is installed, infra/requirements/pipeline.txt pins {pins[_normal(name)]}: run `make setup`")
            continue
        media_type = (found["Description-Content-Type"] or "text/x-rst").split(";")[0].strip()
        body = str(found.get_payload() or found["Description"] or "")
        yield Found(uri, body.encode("utf-8", "replace"), media_type if media_type in TEXTS else "text/plain", title=f"{name}: {found['Summary']}")


def read_snapshot(source: Source, pins: dict[str, str], max_bytes: int) -> Iterator[Found]:
    """What `python -m pipelines fetch` brought of a remote source. Raises UserError where it has not been fetched."""
    path = remote.snapshot(source.name)
    if not path.exists():
        raise UserError(f"params.yaml: ingest.sources: source {source.name} has not been fetched: `python -m pipelines fetch {source.name}`")
    for row in files.read(path, FETCHED, ROWS_A_BATCH):
        yield Found(row["uri"], row["content"], row["hint"], row["title"], row["problem"])


_KINDS: dict[type, Callable[[Any, dict[str, str], int], Iterator[Found]]] = {FilesSource: read_files, PackagesSource: read_packages}


def pinned_versions(lock: Path) -> dict[str, str]:
    """Package -> version of a pinned list. Raises UserError where the list is missing."""
    if not lock.exists():
        raise UserError(f"{lock} is missing: `git checkout {lock}`, or `make lock`")
    lines = (line.split(";")[0].strip() for line in lock.read_text().splitlines())
    # A package that has two lines (one a Python version) is left out: which of the two holds is the installer's business.
    pairs = [line.split("==") for line in lines if "==" in line]
    names = [_normal(name) for name, _ in pairs]
    return {_normal(name): version for name, version in pairs if names.count(_normal(name)) == 1}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def found(source: Source, pins: dict[str, str], max_bytes: int) -> Iterator[Found]:
    """Every document of a source; one that has more than `max_bytes` comes without its content."""
    return (read_snapshot if remote.is_remote(source) else _KINDS[type(source)])(source, pins, max_bytes)
