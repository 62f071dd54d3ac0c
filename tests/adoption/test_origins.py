import subprocess
from pathlib import Path

import pytest
import yaml

from pipelines.adoption import origins
from pipelines.errors import UserError


def entry(origin: origins.Origin) -> dict[str, object]:
    """The origin's only entry of `ingest.sources`."""
    (source,) = yaml.safe_load("    " + origin.as_yaml())
    values: dict[str, object] = source
    return values


def test_a_folder_becomes_a_source_of_the_formats_that_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "Our Docs 2"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.HTML").write_text("x")
    (folder / "b.pdf").write_text("x")
    (folder / "logo.png").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git/c.md").write_text("x")
    origin = origins.read(str(folder), None)
    assert entry(origin) == {
        "kind": "files",
        "name": "our_docs_2",
        "path": "data/raw/our_docs_2",
        "globs": ["**/*.HTML", "**/*.pdf"],
    }
    assert origin.folder == folder.resolve()
    assert origins.suffixes_without_reader(folder) == {".png": 1}


def test_a_folder_below_data_raw_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/raw/manual").mkdir(parents=True)
    Path("data/raw/manual/a.md").write_text("x")
    origin = origins.read("data/raw/manual", None)
    assert origin.folder is None
    assert entry(origin)["path"] == "data/raw/manual"


def test_a_repository_is_recognized_by_asking_git_and_its_branch_is_named(tmp_path: Path) -> None:
    repository = tmp_path / "wiki"
    commands = (
        ["init", "--quiet", "--initial-branch", "trunk"],
        ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet"]
        + ["--allow-empty", "--message", "first"],
    )
    repository.mkdir()
    for command in commands:
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    source = entry(origins.read(f"file://{repository}", None))
    assert (source["kind"], source["name"], source["revision"]) == ("git", "wiki", "trunk")


def test_any_other_address_of_the_web_becomes_a_site() -> None:
    source = entry(origins.read("http://127.0.0.1:9/manual/sitemap.xml", "manual"))
    assert source == {
        "kind": "web",
        "name": "manual",
        "start": "http://127.0.0.1:9/manual/sitemap.xml",
        "max_pages": 2000,
        "requests_per_second": 2,
    }


def test_a_folder_without_documents_and_a_name_of_the_sample_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no document that can be read"):
        origins.read(str(tmp_path / "empty"), None)
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook/a.md").write_text("x")
    with pytest.raises(UserError, match="--name"):
        origins.read(str(tmp_path / "handbook"), None)
    with pytest.raises(UserError, match="neither a folder nor a URL"):
        origins.read(str(tmp_path / "nothing"), None)
