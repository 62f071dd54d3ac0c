"""Documents where they come from: no command removes them, so they are named."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.config import params
from pipelines.config.ingest import FilesSource, IngestConfig
from pipelines.erasure import file_texts
from pipelines.erasure.finding import Finding
from pipelines.erasure.layout import RAW, list_files
from pipelines.erasure.subject import Subject

AS_READ = Path("data/converted.parquet")
REMEDY = "edit or remove the document, then `make run`"
REMOTE_REMEDY = "edit or remove it at its source, then `python -m pipelines fetch` and `make run`"
FAQ_PREFIX = "faq/"  # of the uris of the FAQ's topics


def find(subject: Subject) -> Iterator[Finding]:
    """The document itself, or the documents in which the person stands as `ingest` read them.

    PDFs, for example, hold no text that anything but their reader sees. Those that `ingest` has not
    read since they were changed are named, for nobody knows whom they speak of.
    """
    if subject.kind == "document":
        yield from _origin(subject.name)
        return
    if AS_READ.exists():
        for row in pq.read_table(AS_READ).to_pylist():
            if subject.is_in(row):
                for uri in [row["uri"], *(row.get("aliases") or [])]:
                    yield from _origin(uri, is_anywhere=True)
    num_unread = len(list(_unread_documents()))
    if num_unread:
        remedy = "only their readers see what they say: `dvc repro ingest`, then this command again"
        yield Finding(RAW.as_posix(), num_unread, "documents nobody looked at", remedy=remedy)


def _origin(uri: str, *, is_anywhere: bool = False) -> Iterator[Finding]:
    """Where a document comes from; nothing if it is no longer there.

    With `is_anywhere` also if it comes from elsewhere than a file, where nobody can look.
    """
    for source in params.load().section(IngestConfig).sources:
        prefix = f"{source.name}/"
        if isinstance(source, FilesSource) and uri.startswith(prefix):
            path = Path(source.path) / uri.removeprefix(prefix)
            if path.is_file():
                yield Finding(path.as_posix(), 1, "files", remedy=REMEDY)
                return
    if (RAW / uri).is_file():
        yield Finding((RAW / uri).as_posix(), 1, "files", remedy=REMEDY)
    elif uri.startswith(FAQ_PREFIX):
        remedy = f"remove the topic {uri.removeprefix(FAQ_PREFIX)} from data/faq"
        yield Finding(uri, 1, "FAQ topics", remedy=remedy)
    elif is_anywhere:
        yield Finding(uri, 1, "documents", remedy=REMOTE_REMEDY)


def _unread_documents() -> Iterator[Path]:
    """Documents that hold no plain text, and were changed after `ingest` read the documents."""
    time_read = AS_READ.stat().st_mtime if AS_READ.exists() else 0.0
    for path in list_files(RAW, "**/*"):
        is_new = path.is_file() and path.stat().st_mtime > time_read
        if is_new and path.suffix != ".parquet" and not file_texts.is_readable(path):
            yield path
