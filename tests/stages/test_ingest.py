import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipelines import files
from pipelines.config.ingest import FilesSource, IngestConfig, Limits, PackagesSource, Quality, Source
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.errors import UserError
from pipelines.stages.ingest import run

LIMITS = Limits(seconds=20, memory_mib=2048, max_document_mib=1, max_unpacked_mib=64, max_pages=9)
QUALITY = Quality(min_words=1, min_letter_share=0, max_repeated_line_share=1, max_replacement_share=1, max_mojibake_share=1)


def configured(share: float, *sources: Source) -> IngestConfig:
    """A configuration that lets so large a share be rejected."""
    return IngestConfig(max_rejected_share=share, num_workers=1, limits=LIMITS, quality=QUALITY, near_duplicate_similarity=0.9, sources=list(sources))


def test_documents_and_rejections_of_all_sources_are_written_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw/book").mkdir(parents=True)
    Path("data/raw/book/b.md").write_text("# B\n\nb\n")
    Path("data/raw/book/a.txt").write_text("a")
    Path("data/raw/book/y.md").write_bytes(b"\xff")
    Path("data/raw/book/x.md").write_text("")
    Path("lock.txt").write_text("unrelated==1.0\n")
    book = FilesSource(kind="files", name="book", path="data/raw/book", globs=["*"])
    packages = PackagesSource(kind="python_packages", name="packages", packages=["pydantic"])
    config = configured(0.4, book, packages)
    run(config, Path("data/raw"), Path("lock.txt"), Path("data/documents.parquet"), Path("data/rejections.parquet"), Path("ingestion.json"))
    rows = list(files.read(Path("data/documents.parquet"), DOCUMENTS))
    assert {row["uri"] for row in rows} == {"book/a.txt", "book/b.md", "packages/pydantic"}
    assert [row["doc_id"] for row in rows] == sorted(row["doc_id"] for row in rows)
    assert list(files.read(Path("data/rejections.parquet"), REJECTIONS)) == [
        {"uri": "book/x.md", "source": "book", "stage": "convert", "reason": "has no text", "digest": hashlib.sha256(b"").hexdigest()},
        {"uri": "book/y.md", "source": "book", "stage": "convert", "reason": "not utf-8: invalid start byte at byte 0", "digest": hashlib.sha256(b"\xff").hexdigest()},
    ]
    assert json.loads(Path("ingestion.json").read_text()) == {"documents": 3, "read": 5, "aliases": 0, "rejected": 2, "rejected_at": {"convert": 2}}
    assert capsys.readouterr().out == "book: 2 documents, 2 rejected\npackages: 1 documents, 0 rejected\n3 documents (5 read, the others unchanged), 0 near-duplicates left out, 2 rejected\n"


def test_the_same_sources_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.md").write_text("# A\n")
    Path("data/raw/b.md").write_text("# B\n")
    Path("lock.txt").write_text("")
    config = configured(0, FilesSource(kind="files", name="book", path="data/raw", globs=["*.md"]))
    run(config, Path("data/raw"), Path("lock.txt"), Path("one.parquet"), Path("one-rejections.parquet"), Path("ingestion.json"))
    run(config, Path("data/raw"), Path("lock.txt"), Path("two.parquet"), Path("two-rejections.parquet"), Path("ingestion.json"))
    assert files.digest(Path("one.parquet")) == files.digest(Path("two.parquet"))
    assert files.digest(Path("one-rejections.parquet")) == files.digest(Path("two-rejections.parquet"))


def test_no_rejection_at_all_writes_an_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.md").write_text("a")
    Path("lock.txt").write_text("")
    config = configured(0, FilesSource(kind="files", name="book", path="data/raw", globs=["*.md"]))
    run(config, Path("data/raw"), Path("lock.txt"), Path("documents.parquet"), Path("rejections.parquet"), Path("ingestion.json"))
    assert list(files.read(Path("rejections.parquet"), REJECTIONS)) == []


def test_more_rejections_than_allowed_stop_with_key_values_and_reasons_and_are_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.md").write_text("a")
    Path("data/raw/b.md").write_text("b")
    Path("data/raw/c.md").write_bytes(b"\xff")
    Path("lock.txt").write_text("")
    config = configured(0.3, FilesSource(kind="files", name="book", path="data/raw", globs=["*.md"]))
    with pytest.raises(UserError) as caught:
        run(config, Path("data/raw"), Path("lock.txt"), Path("documents.parquet"), Path("rejections.parquet"), Path("ingestion.json"))
    assert str(caught.value) == (
        "1 of 3 documents were rejected (33.3%), more than ingest.max_rejected_share (30.0%) in params.yaml allows. Mend or remove them:\n  - book/c.md: not utf-8: invalid start byte at byte 0"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".state", "data", "lock.txt", "rejections.parquet"]


def test_as_many_rejections_as_allowed_do_not_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.md").write_text("a")
    Path("data/raw/b.md").write_bytes(b"\xff")
    Path("lock.txt").write_text("")
    config = configured(0.5, FilesSource(kind="files", name="book", path="data/raw", globs=["*.md"]))
    run(config, Path("data/raw"), Path("lock.txt"), Path("documents.parquet"), Path("rejections.parquet"), Path("ingestion.json"))
    assert [row["uri"] for row in files.read(Path("documents.parquet"), DOCUMENTS)] == ["book/a.md"]


def test_a_source_that_yields_nothing_stops_with_its_name_and_reasons_whatever_share_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.md").write_text("")
    Path("lock.txt").write_text("pydantic==0.0.1\n")
    config = configured(1, FilesSource(kind="files", name="book", path="data/raw", globs=["*.md"]))
    with pytest.raises(UserError) as caught:
        run(config, Path("data/raw"), Path("lock.txt"), Path("documents.parquet"), Path("rejections.parquet"), Path("ingestion.json"))
    assert str(caught.value) == ("params.yaml: ingest.sources: source book yields no document. Mend its files, or remove it from the list:\n  - book/a.md: has no text")


def test_packages_in_other_versions_than_the_lock_stop_with_the_command_that_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lock.txt").write_text("pydantic==0.0.1\n")
    config = configured(0, PackagesSource(kind="python_packages", name="packages", packages=["pydantic"]))
    with pytest.raises(UserError, match="pins 0.0.1: run `make setup`"):
        run(config, Path("data/raw"), Path("lock.txt"), Path("documents.parquet"), Path("rejections.parquet"), Path("ingestion.json"))


def test_a_second_run_reads_nothing_and_a_run_without_the_cache_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.md").write_text("# A\n\nText of the first page.")
    Path("data/raw/b.html").write_text("<h1>B</h1><p>Something else.</p>")
    Path("lock.txt").write_text("")
    config = configured(0, FilesSource(kind="files", name="book", path="data/raw", globs=["*"]))
    digests, read = [], []
    for _ in range(3):
        run(config, Path("data/raw"), Path("lock.txt"), Path("documents.parquet"), Path("rejections.parquet"), Path("ingestion.json"))
        digests.append(files.digest(Path("documents.parquet")))
        read.append(json.loads(Path("ingestion.json").read_text())["read"])
        if len(read) == 2:
            shutil.rmtree(".state")
    assert len(set(digests)) == 1
    assert read == [2, 0, 2]
