"""Documents of each source of params.yaml, one after the other, without reading their text.

A kind of source that needs no fetch has a function here; remote ones are read from a snapshot.
"""

import importlib.metadata
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pipelines import files
from pipelines.config.ingest import (
    RAW_FOLDER,
    FaqSource,
    FilesSource,
    PackagesSource,
    Source,
)
from pipelines.contracts.fetched import FETCHED, ROWS_A_BATCH
from pipelines.corpus import faq_documents
from pipelines.corpus.detection import TEXTS
from pipelines.corpus.problems import source_error, too_large
from pipelines.corpus.snapshots import is_remote, snapshot_path
from pipelines.errors import UserError

RAW_PATH = "/".join(RAW_FOLDER)
# A file in DVC's cache, which is named by its content.
DVC_FILE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")

Pins = dict[str, str]  # normal name of a package -> version that the lock pins


class SourceDocument(NamedTuple):
    """One document as its source holds it. `problem` says why there is no content."""

    uri: str
    content: bytes
    # Media type that the source states; it decides only between kinds of text.
    hint: str | None = None
    title: str | None = None
    problem: str | None = None
    page: str | None = None  # uri of the document that a topic of the FAQ rests on


def read_source(source: Source, pins: Pins, max_bytes: int) -> Iterator[SourceDocument]:
    """Every document of a source; a file of more than `max_bytes` comes without its content.

    Raises UserError if the source cannot be read.
    """
    if isinstance(source, PackagesSource):
        return read_packages(source, pins)
    if isinstance(source, FaqSource):
        return read_faq(source)
    if is_remote(source):
        return read_snapshot(source.name)
    assert isinstance(source, FilesSource)
    return read_files(source, max_bytes)


def read_files(source: FilesSource, max_bytes: int) -> Iterator[SourceDocument]:
    """Files below a folder that match the globs.

    Raises UserError if the folder is missing or nothing matches.
    """
    links = Links()
    for name, uri in _find_files(source):
        problem = _file_problem(name, uri, links)
        if problem:
            yield SourceDocument(_readable(uri), b"", problem=problem)
        else:
            yield _read_file(name, uri, max_bytes)


def _find_files(source: FilesSource) -> Iterator[tuple[str, str]]:
    """(file name, uri) of every file, sorted. Raises as read_files."""
    folder = _existing_folder(source)
    names = _matching_files(folder, source.globs)
    if not names:
        raise _no_match(source)
    prefix = os.path.join(folder, "")
    for name in names:
        yield name, f"{source.name}/{name.removeprefix(prefix)}"


def _existing_folder(source: FilesSource) -> Path:
    folder = Path(source.path)
    if not folder.is_dir():
        problem = f"the folder {folder} is missing. Create it, or correct `path`"
        raise source_error(source.name, problem)
    if Links().lead_out(str(folder / "*")):
        problem = (
            f"{folder} leads by a symbolic link out of {RAW_PATH}, which `dvc.yaml` watches: copy "
            "its files there"
        )
        raise source_error(source.name, problem)
    return folder


def _no_match(source: FilesSource) -> UserError:
    problem = f"no file in {source.path} matches {source.globs}: add files, or correct `globs`"
    return source_error(source.name, problem)


def _matching_files(folder: Path, globs: list[str]) -> list[str]:
    """Sorted names as text: handling Path objects takes three times as long."""
    names: set[str] = set()
    for glob in globs:
        names.update(map(os.fspath, folder.glob(glob)))
    return sorted(itertools.filterfalse(os.path.isdir, names))


def _read_file(name: str, uri: str, max_bytes: int) -> SourceDocument:
    with open(name, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            return SourceDocument(uri, b"", problem=too_large(size, max_bytes))
        return SourceDocument(uri, file.readall())


def _file_problem(name: str, uri: str, links: "Links") -> str | None:
    """Why a file is not opened."""
    if not _is_utf8(uri):
        return "its file name is not UTF-8: rename it"
    if links.lead_out(name):
        return f"a symbolic link leads from it out of {RAW_PATH}: copy the file itself there"
    if not os.path.isfile(name):
        kind = "a symbolic link to nothing" if os.path.islink(name) else "no regular file"
        return f"{kind}: remove it"
    return None


class Links:
    """Where symbolic links below data/raw lead. Folders are resolved once, as they hold many files.

    DVC's cache counts as inside: with `cache.type symlink` DVC links to the files there.
    """

    def __init__(self) -> None:
        self._root = os.path.join(os.path.realpath(RAW_PATH), "")
        self._real_folders: dict[str, str] = {}

    def lead_out(self, name: str) -> bool:
        """Whether the file is outside data/raw."""
        if os.path.islink(name):
            path = os.path.realpath(name)
        else:
            folder, base = os.path.split(name)
            if folder not in self._real_folders:
                self._real_folders[folder] = os.path.realpath(folder)
            path = os.path.join(self._real_folders[folder], base)
        return not path.startswith(self._root) and not DVC_FILE.search(path)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _readable(uri: str) -> str:
    """The uri with bytes that are not UTF-8 as escapes."""
    return uri.encode("utf-8", "backslashreplace").decode()


def read_packages(source: PackagesSource, pins: Pins) -> Iterator[SourceDocument]:
    """Descriptions of installed packages, in the version that the lock pins.

    Raises UserError if a package is not installed.
    """
    for name in sorted(source.packages):
        metadata = _distribution(name, source.name).metadata
        pin = pins.get(_normalize(name))
        yield _describe_package(name, f"{source.name}/{name}", metadata, pin)


def _distribution(name: str, source_name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise source_error(
            source_name,
            f"package `{name}` is not installed. Remove it from the list, "
            "or add it to pyproject.toml and run `make lock setup`",
        ) from error


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


def read_faq(source: FaqSource) -> Iterator[SourceDocument]:
    """The FAQ's topics as Markdown. Raises UserError if they cannot be read."""
    for document in faq_documents.read_topics(source):
        uri = f"{source.name}/{document.topic}"
        yield SourceDocument(
            uri,
            document.text.encode(),
            hint="text/markdown",
            title=document.title,
            page=document.page,
        )


def read_snapshot(name: str) -> Iterator[SourceDocument]:
    """What `python -m pipelines fetch` brought from a remote source.

    Raises UserError if it has not been fetched.
    """
    for row in files.read(_existing_snapshot(name), FETCHED, ROWS_A_BATCH):
        yield SourceDocument(row["uri"], row["content"], row["hint"], row["title"], row["problem"])


def _existing_snapshot(name: str) -> Path:
    path = snapshot_path(name)
    if not path.exists():
        raise source_error(name, f"it has not been fetched: run `python -m pipelines fetch {name}`")
    return path


def source_problems(sources: Iterable[Source]) -> list[str]:
    """Why sources cannot be read: folder, files, packages or snapshot missing. Reads no document.

    The sentences are those of read_source's errors.
    """
    problems: list[str] = []
    for source in sources:
        for require in _requirements(source):
            try:
                require()
            except UserError as error:
                problems.append(str(error))
    return problems


def overlap_problems(sources: Iterable[Source]) -> list[str]:
    """Files that two sources with different readers read: by the other, all could read them."""
    problems: dict[tuple[str, str], str] = {}
    owners: dict[str, FilesSource] = {}
    for source in sources:
        if not isinstance(source, FilesSource) or is_remote(source):
            continue
        for name in _matching_files(Path(source.path), source.globs):
            owner = owners.setdefault(os.path.realpath(name), source)
            if set(owner.readers) != set(source.readers):
                pair = (owner.name, source.name)
                problems.setdefault(pair, _describe_overlap(owner.name, source.name, name))
    return list(problems.values())


def _describe_overlap(first: str, second: str, file: str) -> str:
    return (
        f"params.yaml: ingest.sources: {first} and {second} both read {file} and name different "
        "readers, so that it would be in the index with both: let their folders or globs not "
        "overlap"
    )


def _requirements(source: Source) -> Iterator[Callable[[], object]]:
    """What must hold before a source is read; each raises UserError if it does not."""
    if isinstance(source, PackagesSource):
        for name in sorted(source.packages):
            yield partial(_distribution, name, source.name)
    elif isinstance(source, FaqSource):
        yield partial(faq_documents.require_topics, source)
    elif is_remote(source):
        yield partial(_existing_snapshot, source.name)
    else:
        assert isinstance(source, FilesSource)
        yield partial(_require_match, source)


def _require_match(source: FilesSource) -> None:
    """Stops at the first file, since a folder may hold very many."""
    folder = _existing_folder(source)
    for glob in source.globs:
        if not all(map(os.path.isdir, folder.glob(glob))):
            return
    raise _no_match(source)


def list_uris(source: Source) -> Iterator[str]:
    """The uris of read_source's documents without reading them. Raises as that does."""
    if isinstance(source, PackagesSource):
        for name in source.packages:
            yield f"{source.name}/{name}"
    elif isinstance(source, FaqSource):
        for document in faq_documents.read_topics(source):
            yield f"{source.name}/{document.topic}"
    elif is_remote(source):
        path = _existing_snapshot(source.name)
        for batch in files.batches(path, FETCHED, columns=["uri"]):
            yield from batch.column("uri").to_pylist()
    else:
        assert isinstance(source, FilesSource)
        for _, uri in _find_files(source):
            yield _readable(uri)


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
