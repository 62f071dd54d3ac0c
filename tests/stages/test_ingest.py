import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipelines import files
from pipelines.config.ingest import (
    FilesSource,
    IngestConfig,
    Limits,
    PackagesSource,
    Quality,
    Source,
)
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.left_out import LEFT_OUT
from pipelines.errors import UserError
from pipelines.stages.ingest import Config, Inputs, Outputs, run
from pipelines.system.engine import LOCAL

LIMITS = Limits(seconds=20, memory_mib=2048, max_document_mib=1, max_unpacked_mib=64, max_pages=9)
QUALITY = Quality(
    min_words=1,
    min_letter_share=0,
    max_repeated_line_share=1,
    max_replacement_share=1,
    max_mojibake_share=1,
)
INPUTS = Inputs(pipeline=Path("lock.txt"))
OUTPUTS = Outputs(
    converted=Path("converted.parquet"),
    rejections=Path("rejections.parquet"),
    left_out=Path("left_out.parquet"),
    ingestion=Path("ingestion.json"),
)
BOOK = FilesSource(kind="files", name="book", path="data/raw/book", globs=["*"])
PACKAGES = PackagesSource(kind="python_packages", name="packages", packages=["pydantic"])


def configure(max_rejected_share: float, *sources: Source) -> Config:
    ingest = IngestConfig(
        max_rejected_share=max_rejected_share,
        num_workers=1,
        limits=LIMITS,
        quality=QUALITY,
        near_duplicate_similarity=0.9,
        sources=list(sources),
    )
    return Config(ingest=ingest, engine=LOCAL)


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty book, and a lock that pins nothing."""
    monkeypatch.chdir(tmp_path)
    Path("data/raw/book").mkdir(parents=True)
    Path("lock.txt").write_text("")


def outputs_named(name: str) -> Outputs:
    return Outputs(
        converted=Path(f"{name}.parquet"),
        rejections=Path(f"{name}-rejections.parquet"),
        left_out=Path(f"{name}-left-out.parquet"),
        ingestion=Path(f"{name}.json"),
    )


def test_documents_and_rejections_of_all_sources_are_written_sorted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("data/raw/book/b.md").write_text("# B\n\nb\n")
    Path("data/raw/book/a.txt").write_text("a")
    Path("data/raw/book/y.md").write_bytes(b"\xff")
    Path("data/raw/book/x.md").write_text("")
    Path("lock.txt").write_text("unrelated==1.0\n")
    run(configure(0.4, BOOK, PACKAGES), INPUTS, OUTPUTS)
    rows = list(files.read(OUTPUTS.converted, DOCUMENTS))
    assert {row["uri"] for row in rows} == {"book/a.txt", "book/b.md", "packages/pydantic"}
    ids = [row["doc_id"] for row in rows]
    assert ids == sorted(ids)
    assert list(files.read(OUTPUTS.rejections, REJECTIONS)) == [
        {
            "uri": "book/x.md",
            "source": "book",
            "stage": "convert",
            "reason": "has no text",
            "digest": hashlib.sha256(b"").hexdigest(),
        },
        {
            "uri": "book/y.md",
            "source": "book",
            "stage": "convert",
            "reason": "not utf-8: invalid start byte at byte 0",
            "digest": hashlib.sha256(b"\xff").hexdigest(),
        },
    ]
    assert json.loads(OUTPUTS.ingestion.read_text()) == {
        "documents": 3,
        "read": 5,
        "aliases": 0,
        "rejected": 2,
        "rejected_at": {"convert": 2},
        "restricted_to": {},
    }
    assert capsys.readouterr().out == (
        "book: 2 documents, 2 rejected\n"
        "packages: 1 documents, 0 rejected\n"
        "3 documents (5 read, the others unchanged), 0 near-duplicates left out, 2 rejected\n"
    )


def test_the_same_sources_give_the_same_bytes() -> None:
    Path("data/raw/book/a.md").write_text("# A\n")
    Path("data/raw/book/b.md").write_text("# B\n")
    first = outputs_named("1")
    second = outputs_named("2")
    run(configure(0, BOOK), INPUTS, first)
    run(configure(0, BOOK), INPUTS, second)
    assert files.digest(first.converted) == files.digest(second.converted)
    assert files.digest(first.rejections) == files.digest(second.rejections)
    assert files.digest(first.left_out) == files.digest(second.left_out)


def test_what_readers_left_out_is_listed_by_document_and_kind_and_comes_from_the_cache_too() -> (
    None
):
    page = (
        "<html><body><nav><a href='/'>Home and start</a></nav><main><h1>Brewing</h1>"
        f"<p>{'The kettle is filled with water. ' * 9}</p></main></body></html>"
    )
    Path("data/raw/book/a.html").write_text(page)
    Path("data/raw/book/b.md").write_text("# B\n\nNothing of this is left out.\n")
    run(configure(0, BOOK), INPUTS, OUTPUTS)
    rows = list(files.read(OUTPUTS.left_out, LEFT_OUT))
    (navigation,) = [row for row in rows if row["kind"] == "navigation"]
    assert navigation["num_left_out"] == len("Home and start")
    assert (navigation["uri"], navigation["source"]) == ("book/a.html", "book")
    assert navigation["num_kept"] > 200
    assert {row["uri"] for row in rows} == {"book/a.html"}
    run(configure(0, BOOK), INPUTS, OUTPUTS)
    assert list(files.read(OUTPUTS.left_out, LEFT_OUT)) == rows


def test_no_rejection_at_all_writes_an_empty_list() -> None:
    Path("data/raw/book/a.md").write_text("a")
    run(configure(0, BOOK), INPUTS, OUTPUTS)
    assert list(files.read(OUTPUTS.rejections, REJECTIONS)) == []


def test_more_rejections_than_allowed_stop_with_key_values_and_reasons_and_are_recorded(
    tmp_path: Path,
) -> None:
    Path("data/raw/book/a.md").write_text("a")
    Path("data/raw/book/b.md").write_text("b")
    Path("data/raw/book/c.md").write_bytes(b"\xff")
    with pytest.raises(UserError) as caught:
        run(configure(0.3, BOOK), INPUTS, OUTPUTS)
    assert str(caught.value) == (
        "1 of 3 documents were rejected (33.3%), more than ingest.max_rejected_share (30.0%) in "
        "params.yaml allows. Fix or remove them:\n"
        "  - book/c.md: not utf-8: invalid start byte at byte 0"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".state",
        "data",
        "lock.txt",
        "rejections.parquet",
    ]


def test_as_many_rejections_as_allowed_do_not_stop() -> None:
    Path("data/raw/book/a.md").write_text("a")
    Path("data/raw/book/b.md").write_bytes(b"\xff")
    run(configure(0.5, BOOK), INPUTS, OUTPUTS)
    assert [row["uri"] for row in files.read(OUTPUTS.converted, DOCUMENTS)] == ["book/a.md"]


def test_a_source_without_a_good_document_stops_whatever_share_is_allowed() -> None:
    Path("data/raw/book/a.md").write_text("")
    with pytest.raises(UserError) as caught:
        run(configure(1, BOOK), INPUTS, OUTPUTS)
    assert str(caught.value) == (
        "params.yaml: ingest.sources: source book: it yields no document. Fix its files, "
        "or remove it from the list:\n"
        "  - book/a.md: has no text"
    )


def test_packages_in_other_versions_than_the_lock_stop_with_the_command_that_fixes_it() -> None:
    Path("lock.txt").write_text("pydantic==0.0.1\n")
    with pytest.raises(UserError, match=r"pins 0\.0\.1: run `make setup`"):
        run(configure(0, PACKAGES), INPUTS, OUTPUTS)


def test_a_second_run_reads_nothing_and_a_run_without_the_cache_gives_the_same_bytes() -> None:
    Path("data/raw/book/a.md").write_text("# A\n\nText of the first page.")
    Path("data/raw/book/b.html").write_text("<h1>B</h1><p>Something else.</p>")
    digests: set[str] = set()

    def count_read() -> int:
        run(configure(0, BOOK), INPUTS, OUTPUTS)
        digests.add(files.digest(OUTPUTS.converted))
        return int(json.loads(OUTPUTS.ingestion.read_text())["read"])

    assert count_read() == 2
    assert count_read() == 0
    shutil.rmtree(".state")
    assert count_read() == 2
    assert len(digests) == 1


def test_sources_that_cannot_be_read_stop_the_stage_together_before_anything_is_read() -> None:
    Path("data/raw/book/a.txt").write_text("a")
    gone = BOOK.model_copy(update={"name": "gone", "path": "data/raw/gone"})
    unmatched = BOOK.model_copy(update={"name": "none", "globs": ["*.pdf"]})
    with pytest.raises(UserError) as caught:
        run(configure(0.5, BOOK, gone, unmatched), INPUTS, OUTPUTS)
    missing, no_match = str(caught.value).splitlines()
    assert "source gone: the folder data/raw/gone is missing" in missing
    assert "source none: no file in data/raw/book matches ['*.pdf']" in no_match
    assert not Path(".state/work.sqlite").exists()
