import os
from importlib.metadata import version
from pathlib import Path

import pytest

from pipelines.config.ingest import FilesSource, PackagesSource
from pipelines.corpus.sources import documents, pinned_versions
from pipelines.errors import UserError
from pipelines.files import text_digest


def test_a_file_becomes_a_row_with_uri_title_sections_and_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw/book/deep").mkdir(parents=True)
    Path("data/raw/book/deep/a.md").write_text("# Set-up\n\nType it.\n")
    source = FilesSource(kind="files", name="book", path="data/raw/book", globs=["**/*.md"])
    assert [tuple(reading) for reading in documents(source, {})] == [
        (
            {
                "doc_id": text_digest("book/deep/a.md")[:16],
                "uri": "book/deep/a.md",
                "title": "Set-up",
                "text": "# Set-up\n\nType it.\n",
                "sections": [{"heading": "Set-up", "level": 1, "start": 0, "end": 19}],
                "pages": [],
                "media_type": "text/markdown",
                "source": "book",
                "digest": text_digest("# Set-up\n\nType it.\n"),
            },
            None,
        )
    ]


def test_files_come_sorted_and_once_however_many_globs_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/b.txt").write_text("b")
    Path("data/raw/a.HTML").write_text("<p>a</p>")
    Path("data/raw/c.rst").write_text("c")
    Path("data/raw/ignored.pdf").write_text("d")
    source = FilesSource(kind="files", name="book", path="data/raw", globs=["*.txt", "**/*.txt", "*.HTML", "*.rst"])
    rows = [reading.document for reading in documents(source, {})]
    assert [(row["uri"], row["media_type"], row["title"]) for row in rows if row] == [
        ("book/a.HTML", "text/html", None),
        ("book/b.txt", "text/plain", None),
        ("book/c.rst", "text/x-rst", None),
    ]


def test_a_file_without_reader_or_text_or_utf8_is_a_rejection_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/Makefile").write_text("all:")
    Path("data/raw/bad.txt").write_bytes(b"ab\xff")
    Path("data/raw/empty.md").write_text("")
    Path("data/raw/good.md").write_text("text")
    Path("data/raw/slides.pdf").write_text("x")
    source = FilesSource(kind="files", name="book", path="data/raw", globs=["*"])
    readings = list(documents(source, {}))
    readers = "there are readers for .md, .markdown, .rst, .html, .htm, .txt"
    assert [reading.rejection for reading in readings if reading.rejection] == [
        {"uri": "book/Makefile", "source": "book", "reason": f"no reader for a file without suffix; {readers}"},
        {"uri": "book/bad.txt", "source": "book", "reason": "not utf-8: invalid start byte at byte 2"},
        {"uri": "book/empty.md", "source": "book", "reason": "has no text"},
        {"uri": "book/slides.pdf", "source": "book", "reason": f"no reader for .pdf; {readers}"},
    ]
    assert [reading.document["uri"] for reading in readings if reading.document] == ["book/good.md"]


def test_a_file_name_that_is_not_utf8_is_a_rejection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    try:
        Path(os.fsdecode(b"data/raw/caf\xe9.md")).write_text("text")
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")
    (reading,) = documents(FilesSource(kind="files", name="book", path="data/raw", globs=["*.md"]), {})
    assert reading.rejection == {"uri": "book/caf\\udce9.md", "source": "book", "reason": "its file name is not UTF-8: rename it"}


def test_a_missing_folder_and_a_glob_without_match_are_told_with_source_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw/empty").mkdir(parents=True)
    with pytest.raises(UserError) as missing:
        list(documents(FilesSource(kind="files", name="book", path="data/raw/gone", globs=["*.md"]), {}))
    with pytest.raises(UserError) as unmatched:
        list(documents(FilesSource(kind="files", name="book", path="data/raw/empty", globs=["*.md"]), {}))
    assert str(missing.value) == "params.yaml: ingest.sources: source book: the folder data/raw/gone is not there. Create it, or correct `path`"
    assert str(unmatched.value) == "params.yaml: ingest.sources: source book: no file in data/raw/empty matches ['*.md']"


def test_an_installed_package_becomes_a_row_titled_with_its_summary() -> None:
    source = PackagesSource(kind="python_packages", name="packages", packages=["pydantic"])
    (reading,) = documents(source, {"pydantic": version("pydantic")})
    assert reading.document is not None
    assert reading.document["uri"] == "packages/pydantic"
    assert reading.document["title"] == "pydantic: Data validation using Python type hints"
    assert reading.document["media_type"] == "text/markdown"
    assert "# Pydantic" in reading.document["text"]
    assert reading.document["sections"] != []


def test_a_package_that_the_lock_does_not_pin_is_read_as_it_is() -> None:
    (reading,) = documents(PackagesSource(kind="python_packages", name="packages", packages=["pydantic"]), {})
    assert reading.rejection is None


def test_a_package_in_another_version_than_the_lock_is_a_rejection_with_both_versions() -> None:
    source = PackagesSource(kind="python_packages", name="packages", packages=["pydantic"])
    (reading,) = documents(source, {"pydantic": "0.0.1"})
    assert reading.rejection == {
        "uri": "packages/pydantic",
        "source": "packages",
        "reason": f"version {version('pydantic')} is installed, infra/requirements/pipeline.txt pins 0.0.1: run `make setup`",
    }


def test_a_package_that_is_not_installed_stops_with_its_name_and_two_remedies() -> None:
    source = PackagesSource(kind="python_packages", name="packages", packages=["there-is-no-such-package"])
    with pytest.raises(UserError) as caught:
        list(documents(source, {}))
    assert str(caught.value) == (
        "params.yaml: ingest.sources: source packages: package `there-is-no-such-package` is not installed. Remove it from the list, or add it to pyproject.toml and run `make lock setup`"
    )


def test_pins_are_read_by_normal_name_without_markers_and_a_name_with_two_lines_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text(
        "# made by `make lock`\nMarkdown_It.py==4.3.0\ncolorama==0.4.6 ; sys_platform == 'win32'\nnumpy==2.4.6 ; python_full_version < '3.12'\nnumpy==2.5.5 ; python_full_version >= '3.12'\n"
    )
    assert pinned_versions(tmp_path / "lock.txt") == {"markdown-it-py": "4.3.0", "colorama": "0.4.6"}


def test_a_missing_lock_is_told_with_its_remedy(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    with pytest.raises(UserError) as caught:
        pinned_versions(lock)
    assert str(caught.value) == f"{lock} is missing: `git checkout {lock}`, or `make lock`"
