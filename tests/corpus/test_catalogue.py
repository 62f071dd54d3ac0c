from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.config.ingest import FilesSource, PackagesSource, Source
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.fetched import FETCHED
from pipelines.corpus import catalogue
from pipelines.corpus.catalogue import Catalogue
from pipelines.corpus.sources import (
    list_uris,
    overlap_problems,
    read_source,
    source_problems,
)

BOOK = FilesSource(kind="files", name="book", path="data/raw/book", globs=["**/*.md", "*.md"])
PACKAGES = PackagesSource(kind="python_packages", name="packages", packages=["pydantic"])
SITE = FilesSource(kind="files", name="site", path="https://docs.example.org/", globs=["*.md"])
ARTIFACTS = (Path("data/documents.parquet"), Path("data/rejections.parquet"))


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with three pages, as the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.md", "sub/b.md", "c.md", "unseen.txt"):
        files.write_text(Path("data/raw/book") / name, "text")


def read(*sources: Source) -> Catalogue:
    return catalogue.read(sources, *ARTIFACTS)


def document(uri: str, aliases: list[str], readers: list[str] | None = None) -> dict[str, Any]:
    return {
        "doc_id": uri,
        "uri": uri,
        "title": None,
        "text": "text",
        "sections": [],
        "pages": [],
        "media_type": "text/markdown",
        "source": "book",
        "digest": "d",
        "content_digest": "c",
        "language": "en",
        "aliases": aliases,
        "readers": readers or ["everyone"],
    }


def write_artifacts(documents: list[dict[str, Any]], rejections: list[str]) -> None:
    files.write(ARTIFACTS[0], DOCUMENTS, documents)
    rows = [
        {"uri": uri, "source": "book", "stage": "quality", "reason": "too short", "digest": None}
        for uri in rejections
    ]
    files.write(ARTIFACTS[1], REJECTIONS, rows)


def test_the_listing_has_the_uris_that_reading_gives() -> None:
    row = {"content": b"text", "hint": None, "title": None, "problem": None}
    rows = [{**row, "uri": "site/x.md", "etag": None, "modified": None}]
    files.write(Path("data/raw/fetched/site.parquet"), FETCHED, rows)
    (Path("data/raw/book") / b"\xff.md".decode("utf-8", "surrogateescape")).write_text("text")
    for source in (BOOK, PACKAGES, SITE):
        documents = read_source(source, {}, 1000)
        assert sorted(list_uris(source)) == sorted(document.uri for document in documents)
    assert source_problems([BOOK, PACKAGES, SITE]) == []


def test_before_ingest_the_sources_are_listed() -> None:
    result = read(BOOK, PACKAGES)
    assert result.uris == {"book/a.md", "book/c.md", "book/sub/b.md", "packages/pydantic"}
    assert (result.is_ingested, result.reasons, result.problems) == (False, {}, [])


def test_after_ingest_rejected_documents_and_duplicates_are_none_that_answers_can_cite() -> None:
    write_artifacts([document("book/a.md", ["book/c.md"])], ["book/sub/b.md"])
    result = read(BOOK)
    assert result.is_ingested
    assert result.uris == {"book/a.md"}
    assert result.reasons == {
        "book/c.md": "is a near-duplicate of 'book/a.md', which stands for both: name that page",
        "book/sub/b.md": "was rejected by `ingest`: too short: mend the document",
    }


def test_artifacts_of_other_documents_do_not_count() -> None:
    write_artifacts([document("book/a.md", ["book/c.md"])], ["book/gone.md"])
    result = read(BOOK)
    assert not result.is_ingested
    assert result.uris == {"book/a.md", "book/c.md", "book/sub/b.md"}


def test_every_source_that_cannot_be_read_is_reported_with_its_remedy() -> None:
    missing = BOOK.model_copy(update={"name": "gone", "path": "data/raw/gone"})
    unmatched = BOOK.model_copy(update={"name": "none", "globs": ["*.pdf"]})
    unknown = PACKAGES.model_copy(update={"packages": ["no-such-package", "nor-this"]})
    result = read(missing, BOOK, unmatched, unknown, SITE)
    prefix = "params.yaml: ingest.sources: source "
    assert [problem.removeprefix(prefix) for problem in result.problems] == [
        "gone: the folder data/raw/gone is missing. Create it, or correct `path`",
        "none: no file in data/raw/book matches ['*.pdf']: add files, or correct `globs`",
        "packages: package `no-such-package` is not installed. Remove it from the list, "
        "or add it to pyproject.toml and run `make lock setup`",
        "packages: package `nor-this` is not installed. Remove it from the list, "
        "or add it to pyproject.toml and run `make lock setup`",
        "site: it has not been fetched: run `python -m pipelines fetch site`",
    ]
    assert result.unreadable_sources == {"gone", "none", "packages", "site"}
    assert result.uris == {"book/a.md", "book/c.md", "book/sub/b.md"}


def test_a_document_that_not_everyone_may_read_is_no_page_of_a_question() -> None:
    documents = [document("book/a.md", []), document("book/c.md", [], ["board", "hr"])]
    write_artifacts(documents, ["book/sub/b.md"])
    found = read(BOOK)
    assert (set(found.uris), found.num_restricted) == ({"book/a.md"}, 1)
    assert found.is_ingested
    assert found.reasons["book/c.md"].startswith("may be read by board, hr alone")
    assert catalogue.restricted_pages(ARTIFACTS[0]).keys() == {"book/c.md"}
    assert catalogue.size_problems(found, 2) == []
    (problem,) = catalogue.size_problems(found, 3)
    assert "hold 2 documents" in problem


def test_two_sources_with_different_readers_may_not_read_the_same_file() -> None:
    personnel = BOOK.model_copy(update={"name": "sub", "path": "data/raw/book/sub"})
    restricted = personnel.model_copy(update={"readers": ["hr"]})
    assert overlap_problems([BOOK, personnel]) == []
    (problem,) = overlap_problems([BOOK, restricted])
    assert "book and sub both read data/raw/book/sub/b.md and name different readers" in problem
    assert problem in read(BOOK, restricted).problems
    assert overlap_problems([BOOK.model_copy(update={"globs": ["*.md"]}), restricted]) == []
    Path("data/raw/book/link.md").symlink_to("sub/b.md")
    assert overlap_problems([BOOK.model_copy(update={"globs": ["*.md"]}), restricted])


def test_before_documents_had_readers_none_is_restricted() -> None:
    assert catalogue.restricted_pages(ARTIFACTS[0]) == {}
    schema = DOCUMENTS.remove(DOCUMENTS.get_field_index("readers"))
    row = document("book/a.md", [])
    del row["readers"]
    files.write(ARTIFACTS[0], schema, [row])
    assert catalogue.restricted_pages(ARTIFACTS[0]) == {}
