"""Documents where they come from: no command removes them, so they are named."""

import mimetypes
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.config import params
from pipelines.config.ingest import FilesSource, IngestConfig
from pipelines.corpus import snapshots
from pipelines.erasure import file_texts
from pipelines.erasure.finding import Finding
from pipelines.erasure.layout import RAW, list_files
from pipelines.erasure.subject import Subject

AS_READ = Path("data/converted.parquet")
REMEDY = "edit or remove the document, then `make run`"
REMOTE_REMEDY = "edit or remove it at its source, then `python -m pipelines fetch` and `make run`"
MAIL = (".eml", ".mbox", ".mht", ".mhtml")  # text whose parts are encoded
FAQ_PREFIX = "faq/"  # of the uris of the FAQ's topics


def find(subject: Subject) -> Iterator[Finding]:
    """The document itself, or the documents in which the person stands as `ingest` read them.

    PDFs, for example, hold no text that anything but their reader sees. Those that `ingest` has
    rejected, or not read since they were changed, are named: nobody knows whom they speak of.
    """
    if subject.kind == "document":
        yield from _origin(subject.name)
        return
    rows = pq.read_table(AS_READ).to_pylist() if AS_READ.exists() else []
    paths_read: set[Path] = set()
    for row in rows:
        for uri in [row["uri"], *(row.get("aliases") or [])]:
            path = _path_of(uri)
            if path is not None:
                paths_read.add(path)
            if subject.is_in(row):
                yield from _origin(uri, is_anywhere=True)
    num_unread = len(list(_unread_documents(paths_read)))
    if num_unread:
        remedy = (
            "only their readers see what they say: look at those that data/rejections.parquet "
            "names, or `dvc repro ingest`, then this command again"
        )
        yield Finding(RAW.as_posix(), num_unread, "documents nobody looked at", remedy=remedy)


def _path_of(uri: str) -> Path | None:
    """The file below data/raw that a document was read from, if it is one and is there."""
    for source in params.load().section(IngestConfig).sources:
        prefix = f"{source.name}/"
        if isinstance(source, FilesSource) and uri.startswith(prefix):
            path = Path(source.path) / uri.removeprefix(prefix)
            if path.is_file():
                return path
    return RAW / uri if (RAW / uri).is_file() else None


def _origin(uri: str, *, is_anywhere: bool = False) -> Iterator[Finding]:
    """Where a document comes from; nothing if it is no longer there.

    With `is_anywhere` also if it comes from elsewhere than a file, where nobody can look.
    """
    path = _path_of(uri)
    if path is not None:
        yield Finding(path.as_posix(), 1, "files", remedy=REMEDY)
    elif uri.startswith(FAQ_PREFIX):
        remedy = f"remove the topic {uri.removeprefix(FAQ_PREFIX)} from data/faq"
        yield Finding(uri, 1, "FAQ topics", remedy=remedy)
    elif is_anywhere:
        yield Finding(uri, 1, "documents", remedy=REMOTE_REMEDY)


def _unread_documents(paths_read: set[Path]) -> Iterator[Path]:
    """Documents that need a reader, and that `ingest` has not read as they are now."""
    time_read = AS_READ.stat().st_mtime if AS_READ.exists() else 0.0
    for path in list_files(RAW, "**/*"):
        if path.is_relative_to(snapshots.FOLDER) or not path.is_file():
            continue
        is_read = path in paths_read and path.stat().st_mtime <= time_read
        if not is_read and not _is_picture(path) and _needs_reader(path):
            yield path


def _is_picture(path: Path) -> bool:
    kind, _ = mimetypes.guess_type(path)
    return (kind or "").startswith(("image/", "audio/", "video/", "font/"))


def _needs_reader(path: Path) -> bool:
    """Whether a file is anything but plain text in UTF-8."""
    if path.suffix.lower() in MAIL or not file_texts.is_readable(path):
        return True
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return True
    return False
