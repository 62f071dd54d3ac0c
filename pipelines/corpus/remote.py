"""Knows sources that are not below data/raw: each is fetched into a snapshot, data/raw/fetched/<name>.parquet, which ingest reads.

A snapshot is made by `python -m pipelines fetch`, never by a stage: DVC watches data/raw, so that a run depends on what was fetched
and not on what a site says today. One function a kind of source; documents stream through it, none is held longer than needed.
"""

import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq

from pipelines import files, place
from pipelines.config.ingest import FilesSource, GitSource, HfSource, Source, SqlSource, WebSource
from pipelines.contracts.fetched import FETCHED, ROWS_A_BATCH
from pipelines.corpus import web
from pipelines.errors import UserError

FOLDER = Path("data/raw/fetched")
Row = dict[str, Any]


def is_remote(source: Source) -> bool:
    return isinstance(source, (WebSource, SqlSource, HfSource, GitSource)) or (isinstance(source, FilesSource) and "://" in source.path)


def snapshot(name: str) -> Path:
    return FOLDER / f"{name}.parquet"


def fetch(source: Source, max_bytes: int) -> int:
    """Replace the source's snapshot; returns the number of documents. The old one stays where the source cannot be read whole."""
    rows = {FilesSource: _files, WebSource: _web, SqlSource: _sql, HfSource: _hf, GitSource: _git}[type(source)]
    return files.write(snapshot(source.name), FETCHED, rows(source, max_bytes), ROWS_A_BATCH)  # type: ignore[operator]


def _row(uri: str, content: bytes, max_bytes: int, **other: str | None) -> Row:
    blank = dict.fromkeys(("hint", "title", "problem", "etag", "modified"))
    if len(content) > max_bytes:
        content, other = b"", {**other, "problem": f"has {len(content):,} bytes, more than ingest.limits.max_document_mib allows ({max_bytes:,} bytes)"}
    return {**blank, **other, "uri": uri, "content": content}


def expanded(url: str, name: str) -> str:
    """The URL with ${NAME} replaced by environment variables. Raises UserError where one is missing."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UserError(f"params.yaml: ingest.sources: source {name}: the environment has no {match[1]}")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, url)


def _files(source: FilesSource, max_bytes: int) -> Iterator[Row]:
    """Files below a URL that fsspec opens: S3, GCS, Azure, HTTP, SFTP and so on, credentials as its package takes them from the environment."""
    url = expanded(source.path, source.name).rstrip("/")
    with _told(source, "cannot be listed"):
        system, root = _opened(url)
        listed = {name: entry["type"] for glob in source.globs for name, entry in system.glob(f"{root}/{glob}", detail=True).items()}
        names = sorted(name for name, kind in listed.items() if kind == "file" or (kind == "link" and system.isfile(name)))
    if not names:
        raise UserError(f"params.yaml: ingest.sources: source {source.name}: no file below {source.path} matches {source.globs}")
    for name in names:
        uri = f"{source.name}/{name.removeprefix(root).lstrip('/')}"
        with _told(source, f"cannot be read at {uri}"), system.open(name, "rb") as opened:
            content = opened.read(max_bytes + 1)
        yield _row(uri, content, max_bytes)


def _opened(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the URL's path in it."""
    import fsspec

    # Where the environment names a credentials file, gcsfs uses that one or says why not; by itself it would go on to others, and ask anonymously in the end.
    options = {"token": "google_default"} if url.startswith(("gs://", "gcs://")) and "GOOGLE_APPLICATION_CREDENTIALS" in os.environ else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s).*grpcio.*Post-Quantum", FutureWarning)  # Google's packages say so at each import; weaviate-client holds grpcio back
        system, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)  # a cached one keeps its listings and the credentials of its time
    return system, root


@contextmanager
def _told(source: FilesSource, what: str) -> Iterator[None]:
    """Whatever goes wrong here is a UserError with the first line of its reason: each protocol's package raises errors of its own."""
    where = f"params.yaml: ingest.sources: source {source.name}:"
    try:
        yield
    except ImportError as error:
        raise UserError(f"{where} {urlsplit(source.path).scheme}:// needs a package that is not installed: {error}. Add it to pyproject.toml, then `make lock setup`") from error
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "").rstrip(".")
        raise UserError(f"{where} {source.path} {what}: {type(error).__name__}: {reason}. Check the address, the network, and the credentials in the environment") from error


def _web(source: WebSource, max_bytes: int) -> Iterator[Row]:
    """Pages of a site; a page that the site says is unchanged is taken from the last snapshot."""
    known = _Known(snapshot(source.name))
    host = urlsplit(source.start).netloc

    def uri(url: str) -> str:
        return f"{source.name}/{url.split(host, 1)[1].lstrip('/') or 'index.html'}"

    def validators(url: str) -> tuple[str | None, str | None]:
        return known.validators.get(uri(url), (None, None))

    for page in web.pages(source, validators, lambda url: web.links(url, known.row(uri(url))["content"]), max_bytes):
        if page.problem:
            yield _row(uri(page.url), b"", max_bytes, problem=page.problem)
        elif page.content is None:
            yield known.row(uri(page.url))
        else:
            yield _row(uri(page.url), page.content, max_bytes, hint=page.media_type, etag=page.etag, modified=page.modified)


class _Known:
    """The last snapshot of a source, opened for single rows."""

    def __init__(self, path: Path):
        self.validators: dict[str, tuple[str | None, str | None]] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._file: Any = pq.ParquetFile(path) if path.exists() else None
        for group in range(self._file.num_row_groups if self._file is not None else 0):
            assert self._file is not None
            for place_, row in enumerate(self._file.read_row_group(group, columns=["uri", "etag", "modified", "problem"]).to_pylist()):
                if row["problem"] is None:
                    self._places[row["uri"]] = (group, place_)
                    self.validators[row["uri"]] = (row["etag"], row["modified"])

    def row(self, uri: str) -> Row:
        group, place_ = self._places[uri]
        assert self._file is not None
        found: Row = self._file.read_row_group(group).slice(place_, 1).to_pylist()[0]
        return found


def _sql(source: SqlSource, max_bytes: int) -> Iterator[Row]:
    """Rows of the query, streamed by the server where its driver can."""
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    where = f"params.yaml: ingest.sources: source {source.name}"
    try:
        engine = sqlalchemy.create_engine(expanded(source.url, source.name))
        with engine.connect() as connection:
            found = connection.execution_options(stream_results=True, yield_per=500).execute(sqlalchemy.text(source.query))
            missing = [name for name in (source.id_column, source.text_column, source.title_column) if name and name not in found.keys()]  # noqa: SIM118 (a result's keys)
            if missing:
                raise UserError(f"{where}: the query gives no column {missing[0]}; it gives {', '.join(found.keys())}")
            for record in found.mappings():
                title = record[source.title_column] if source.title_column else None
                yield _row(f"{source.name}/{record[source.id_column]}", str(record[source.text_column] or "").encode(), max_bytes, title=None if title is None else str(title))
    except (SQLAlchemyError, ImportError) as error:
        raise UserError(f"{where}: the database refuses: {type(error).__name__}: {str(getattr(error, 'orig', None) or error).splitlines()[0]}") from error


def _hf(source: HfSource, max_bytes: int) -> Iterator[Row]:
    """Rows of a data set, streamed."""
    where = f"params.yaml: ingest.sources: source {source.name}"
    if not source.data_files and (source.revision is None or not re.fullmatch(r"[0-9a-f]{40}", source.revision)):
        raise UserError(f"{where}: {source.dataset} is a hub id and needs `revision`, the commit's 40 hex digits; for local files name them under data_files")
    from datasets import load_dataset

    try:
        rows = load_dataset(source.dataset, data_files=source.data_files or None, revision=source.revision, split=source.split, streaming=True)
        for number, row in enumerate(rows):
            missing = [name for name in (source.id_column, source.text_column, source.title_column) if name and name not in row]
            if missing:
                raise UserError(f"{where}: the data set has no column {missing[0]}; it has {', '.join(row)}")
            title = row[source.title_column] if source.title_column else None
            key = row[source.id_column] if source.id_column else number
            yield _row(f"{source.name}/{key}", str(row[source.text_column] or "").encode("utf-8", "replace"), max_bytes, title=None if title is None else str(title))
    except UserError:
        raise
    except Exception as error:  # the library raises its own, the hub's, Arrow's and Python's errors: each means that the data set is not to be had
        hint = "" if source.data_files else ". Check its name, the revision and the network; a private one needs HF_TOKEN in the environment"
        raise UserError(f"{where}: {source.dataset} cannot be read: {type(error).__name__}: {error}{hint}") from error


def _git(source: GitSource, max_bytes: int) -> Iterator[Row]:
    """Files of a repository at a revision, from a bare copy of it in .state."""
    from pathspec import PathSpec

    copy = place.shared_state() / "git" / files.text_digest(source.repository)[:16]
    repository = expanded(source.repository, source.name)
    if not (copy / "HEAD").exists():
        _run_git(source, "init", "--quiet", "--bare", str(copy))
    _run_git(source, "-C", str(copy), "fetch", "--quiet", "--force", "--prune", "--", repository, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    commit = _run_git(source, "-C", str(copy), "rev-parse", "--verify", "--quiet", f"{source.revision}^{{commit}}").decode().strip()
    listed = _run_git(source, "-C", str(copy), "ls-tree", "-r", "-z", commit).decode("utf-8", "backslashreplace")
    wanted = PathSpec.from_lines("gitignore", source.globs)
    blobs = [(parts[0].split()[2], parts[1]) for parts in (line.split("\t", 1) for line in listed.split("\0") if line) if parts[0].split()[1] == "blob"]
    chosen = sorted((path, digest) for digest, path in blobs if wanted.match_file(path))
    if not chosen:
        raise UserError(f"params.yaml: ingest.sources: source {source.name}: no file of {source.repository} at {source.revision} matches {source.globs}")
    for path, digest in chosen:
        yield _row(f"{source.name}/{path}", _run_git(source, "-C", str(copy), "cat-file", "blob", digest), max_bytes)


def _run_git(source: GitSource, *arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], capture_output=True, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"there is no revision {source.revision}"
        raise UserError(f"params.yaml: ingest.sources: source {source.name}: Git says: {said}")
    return done.stdout
