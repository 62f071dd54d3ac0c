import os
from importlib.metadata import version
from pathlib import Path

import pytest

from pipelines.config.ingest import FilesSource, PackagesSource
from pipelines.corpus.sources import (
    SourceDocument,
    list_uris,
    pinned_versions,
    read_source,
    source_problems,
)
from pipelines.errors import UserError

MAX_BYTES = 1 << 20


def files_source(path: str, *globs: str) -> FilesSource:
    return FilesSource(kind="files", name="book", path=path, globs=list(globs))


def packages_source(*packages: str) -> PackagesSource:
    return PackagesSource(kind="python_packages", name="packages", packages=list(packages))


def test_a_file_is_read_with_its_uri_and_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw/book/deep").mkdir(parents=True)
    Path("data/raw/book/deep/a.md").write_text("# Set-up\n")
    documents = list(read_source(files_source("data/raw/book", "**/*.md"), {}, MAX_BYTES))
    assert documents == [SourceDocument("book/deep/a.md", b"# Set-up\n")]


def test_files_come_sorted_and_once_however_many_globs_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/b.txt").write_text("b")
    Path("data/raw/a.HTML").write_text("<p>a</p>")
    Path("data/raw/c.rst").write_text("c")
    Path("data/raw/ignored.pdf").write_text("d")
    source = files_source("data/raw", "*.txt", "**/*.txt", "*.HTML", "*.rst")
    uris = [document.uri for document in read_source(source, {}, MAX_BYTES)]
    assert uris == ["book/a.HTML", "book/b.txt", "book/c.rst"]


def test_a_file_that_is_too_large_comes_without_its_content_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.txt").write_text("123456")
    Path("data/raw/b.txt").write_text("12345")
    large, small = read_source(files_source("data/raw", "*"), {}, 5)
    assert large == SourceDocument(
        "book/a.txt",
        b"",
        problem="has 6 bytes, more than ingest.limits.max_document_mib allows (5 bytes)",
    )
    assert small.content == b"12345"


def test_a_file_name_that_is_not_utf8_is_a_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    try:
        Path(os.fsdecode(b"data/raw/caf\xe9.md")).write_text("text")
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")
    (document,) = read_source(files_source("data/raw", "*.md"), {}, MAX_BYTES)
    assert document == SourceDocument(
        "book/caf\\udce9.md", b"", problem="its file name is not UTF-8: rename it"
    )


def test_symbolic_links_out_of_data_raw_and_to_nothing_are_rejections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw/book").mkdir(parents=True)
    Path("secret").mkdir()
    Path("secret/a.md").write_text("secret")
    Path("data/raw/shared.md").write_text("shared")
    Path("data/raw/book/file.md").symlink_to(tmp_path / "secret/a.md")
    Path("data/raw/book/passwd.md").symlink_to("/etc/passwd")
    Path("data/raw/book/folder").symlink_to(tmp_path / "secret")
    Path("data/raw/book/gone.md").symlink_to("nothing")
    Path("data/raw/book/inside.md").symlink_to("../shared.md")
    os.mkfifo("data/raw/book/pipe.md")
    documents = list(read_source(files_source("data/raw/book", "*.md", "folder/*"), {}, MAX_BYTES))
    leads_out = "a symbolic link leads from it out of data/raw: copy the file itself there"
    problems = {document.uri: document.problem for document in documents}
    assert problems == {
        "book/file.md": leads_out,
        "book/folder/a.md": leads_out,
        "book/gone.md": "a symbolic link to nothing: remove it",
        "book/inside.md": None,
        "book/passwd.md": leads_out,
        "book/pipe.md": "no regular file: remove it",
    }
    assert [document.content for document in documents if not document.problem] == [b"shared"]
    assert sorted(problems) == sorted(list_uris(files_source("data/raw/book", "*.md", "folder/*")))


def test_a_folder_that_leads_out_of_data_raw_is_refused_and_dvcs_links_to_its_cache_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw/book").mkdir(parents=True)
    Path("data/raw/etc").symlink_to("/etc")
    problem = "data/raw/etc leads by a symbolic link out of data/raw"
    with pytest.raises(UserError, match=problem):
        list(read_source(files_source("data/raw/etc", "passwd"), {}, MAX_BYTES))
    (sentence,) = source_problems([files_source("data/raw/etc", "passwd")])
    assert problem in sentence

    cache = Path("cache/files/md5/0a")
    cache.mkdir(parents=True)
    (cache / ("b" * 30)).write_text("cached")
    Path("data/raw/book/a.md").symlink_to(tmp_path / cache / ("b" * 30))
    (document,) = read_source(files_source("data/raw/book", "*.md"), {}, MAX_BYTES)
    assert document == SourceDocument("book/a.md", b"cached")


def test_data_raw_itself_may_be_a_link_to_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("disk/book").mkdir(parents=True)
    Path("disk/book/a.md").write_text("a")
    Path("data").mkdir()
    Path("data/raw").symlink_to(tmp_path / "disk")
    (document,) = read_source(files_source("data/raw/book", "*.md"), {}, MAX_BYTES)
    assert document.content == b"a"


def test_a_missing_folder_and_globs_without_a_match_are_reported_with_source_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw/empty").mkdir(parents=True)
    with pytest.raises(UserError) as missing:
        list(read_source(files_source("data/raw/gone", "*.md"), {}, MAX_BYTES))
    assert str(missing.value) == (
        "params.yaml: ingest.sources: source book: the folder data/raw/gone is missing. "
        "Create it, or correct `path`"
    )
    with pytest.raises(UserError) as unmatched:
        list(read_source(files_source("data/raw/empty", "*.md"), {}, MAX_BYTES))
    assert str(unmatched.value) == (
        "params.yaml: ingest.sources: source book: no file in data/raw/empty matches ['*.md']: "
        "add files, or correct `globs`"
    )


def test_an_installed_package_has_its_summary_as_title_and_its_media_type() -> None:
    pins = {"pydantic": version("pydantic")}
    (document,) = read_source(packages_source("pydantic"), pins, MAX_BYTES)
    assert (document.uri, document.hint, document.title) == (
        "packages/pydantic",
        "text/markdown",
        "pydantic: Data validation using Python type hints",
    )
    assert b"# Pydantic" in document.content


def test_a_package_that_the_lock_does_not_pin_is_read_as_it_is() -> None:
    (document,) = read_source(packages_source("pydantic"), {}, MAX_BYTES)
    assert document.problem is None


def test_a_package_in_another_version_than_the_lock_says_both_versions() -> None:
    (document,) = read_source(packages_source("pydantic"), {"pydantic": "0.0.1"}, MAX_BYTES)
    assert document.problem == (
        f"version {version('pydantic')} is installed, "
        "infra/requirements/pipeline.txt pins 0.0.1: run `make setup`"
    )


def test_a_package_that_is_not_installed_stops_with_its_name_and_two_remedies() -> None:
    with pytest.raises(UserError) as caught:
        list(read_source(packages_source("there-is-no-such-package"), {}, MAX_BYTES))
    assert str(caught.value) == (
        "params.yaml: ingest.sources: source packages: "
        "package `there-is-no-such-package` is not installed. Remove it from the list, "
        "or add it to pyproject.toml and run `make lock setup`"
    )


def test_pins_have_normal_names_and_no_markers_and_a_name_with_two_lines_is_left_out(
    tmp_path: Path,
) -> None:
    (tmp_path / "lock.txt").write_text(
        "# made by `make lock`\n"
        "Markdown_It.py==4.3.0\n"
        "colorama==0.4.6 ; sys_platform == 'win32'\n"
        "numpy==2.4.6 ; python_full_version < '3.12'\n"
        "numpy==2.5.5 ; python_full_version >= '3.12'\n"
    )
    assert pinned_versions(tmp_path / "lock.txt") == {
        "markdown-it-py": "4.3.0",
        "colorama": "0.4.6",
    }


def test_a_missing_lock_is_reported_with_its_remedy(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    with pytest.raises(UserError) as caught:
        pinned_versions(lock)
    assert str(caught.value) == f"{lock} is missing: run `git checkout {lock}` or `make lock`"
