"""Documents of each source of params.yaml, one after the other, without reading their text.

A kind of source that needs no fetch has a function here; remote ones are read from a snapshot.
"""

import importlib.metadata
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipelines import files
from pipelines.config.ingest import FilesSource, PackagesSource, Source
from pipelines.contracts.fetched import FETCHED, ROWS_A_BATCH
from pipelines.corpus.detection import TEXTS
from pipelines.corpus.problems import source_error, too_large
from pipelines.corpus.snapshots import is_remote, snapshot_path
from pipelines.errors import UserError

Pins = dict[str, str]  # normal name of a package -> version that the lock pins


class SourceDocument(NamedTuple):
    """One document as its source holds it. `problem` says why there is no content."""

    uri: str
    content: bytes
    # Media type that the source states; it decides only between kinds of text.
    hint: str | None = None
    title: str | None = None
    problem: str | None = None


def read_source(source: Source, pins: Pins, max_bytes: int) -> Iterator[SourceDocument]:
    """Every document of a source; a file of more than `max_bytes` comes without its content.

    Raises UserError if the source cannot be read.
    """
    if isinstance(source, PackagesSource):
        return read_packages(source, pins)
    if is_remote(source):
        return read_snapshot(source.name)
    assert isinstance(source, FilesSource)
    return read_files(source, max_bytes)


def read_files(source: FilesSource, max_bytes: int) -> Iterator[SourceDocument]:
    """Files below a folder that match the globs.

    Raises UserError if the folder is missing or nothing matches.
    """
    folder = Path(source.path)
    if not folder.is_dir():
        problem = f"the folder {folder} is missing. Create it, or correct `path`"
        raise source_error(source.name, problem)
    names = _matching_files(folder, source.globs)
    if not names:
        raise source_error(source.name, f"no file in {folder} matches {source.globs}")
    prefix = os.path.join(folder, "")
    for name in names:
        yield _read_file(name, f"{source.name}/{name.removeprefix(prefix)}", max_bytes)


def _matching_files(folder: Path, globs: list[str]) -> list[str]:
    """Sorted names as text: handling Path objects takes three times as long."""
    names: set[str] = set()
    for glob in globs:
        names.update(map(os.fspath, folder.glob(glob)))
    return sorted(filter(os.path.isfile, names))


def _read_file(name: str, uri: str, max_bytes: int) -> SourceDocument:
    if not _is_utf8(uri):
        readable_uri = uri.encode("utf-8", "backslashreplace").decode()
        problem = "its file name is not UTF-8: rename it"
        return SourceDocument(readable_uri, b"", problem=problem)
    with open(name, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            return SourceDocument(uri, b"", problem=too_large(size, max_bytes))
        return SourceDocument(uri, file.readall())


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_packages(source: PackagesSource, pins: Pins) -> Iterator[SourceDocument]:
    """Descriptions of installed packages, in the version that the lock pins.

    Raises UserError if a package is not installed.
    """
    for name in sorted(source.packages):
        try:
            metadata = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise source_error(
                source.name,
                f"package `{name}` is not installed. Remove it from the list, "
                "or add it to pyproject.toml and run `make lock setup`",
            ) from error
        pin = pins.get(_normalize(name))
        yield _describe_package(name, f"{source.name}/{name}", metadata, pin)


def _describe_package(name: str, uri: str, metadata: Any, pin: str | None) -> SourceDocument:
    version = metadata["Version"]
    if pin not in (None, version):
        problem = (
            f"version {version} is installed, infra/requirements/pipeline.txt pins {pin}: "
            "run `make setup`"
        )
        return SourceDocument(uri, b"", problem=problem)
    content_type = metadata["Description-Content-Type"] or "text/x-rst"
    media_type = content_type.split(";")[0].strip()
    description = str(metadata.get_payload() or metadata["Description"] or "")
    return SourceDocument(
        uri,
        description.encode("utf-8", "replace"),
        hint=media_type if media_type in TEXTS else "text/plain",
        title=f"{name}: {metadata['Summary']}",
    )


def read_snapshot(name: str) -> Iterator[SourceDocument]:
    """What `python -m pipelines fetch` brought from a remote source.

    Raises UserError if it has not been fetched.
    """
    path = snapshot_path(name)
    if not path.exists():
        raise source_error(name, f"it has not been fetched: run `python -m pipelines fetch {name}`")
    for row in files.read(path, FETCHED, ROWS_A_BATCH):
        yield SourceDocument(row["uri"], row["content"], row["hint"], row["title"], row["problem"])


def pinned_versions(lock: Path) -> Pins:
    """Versions that a lock file pins. Raises UserError if the file is missing.

    A package with two lines (one for each Python version) is left out: which of them holds is the
    installer's business.
    """
    if not lock.exists():
        raise UserError(f"{lock} is missing: run `git checkout {lock}` or `make lock`")
    versions: dict[str, list[str]] = {}
    for line in lock.read_text().splitlines():
        requirement = line.split(";")[0].strip()
        if "==" in requirement:
            name, version = requirement.split("==")
            versions.setdefault(_normalize(name), []).append(version)
    return {name: lines[0] for name, lines in versions.items() if len(lines) == 1}


def _normalize(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
