import subprocess
from pathlib import Path

import pytest

from pipelines.config.ingest import GitSource
from pipelines.corpus import remote
from pipelines.errors import UserError
from tests.corpus.conftest import Contents

MAX_BYTES = 1 << 16


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docs/deep/a.md says "# old" at the tag v1 and "# new" on main."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "repository"
    (folder / "docs/deep").mkdir(parents=True)

    def git(*arguments: str) -> None:
        author = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    (folder / "docs/deep/a.md").write_text("# old")
    (folder / "code.py").write_text("x = 1")
    git("add", "-A")
    git("commit", "-qm", "one")
    git("tag", "v1")
    (folder / "docs/deep/a.md").write_text("# new")
    git("commit", "-qam", "two")
    return folder


def git_source(repository: Path, revision: str, *globs: str) -> GitSource:
    return GitSource(
        kind="git",
        name="repo",
        repository=str(repository),
        revision=revision,
        globs=list(globs),
    )


def test_files_are_fetched_at_their_revision(repository: Path, contents: Contents) -> None:
    assert remote.fetch(git_source(repository, "v1", "docs/**/*.md"), MAX_BYTES) == 1
    assert contents("repo") == {"repo/docs/deep/a.md": b"# old"}
    remote.fetch(git_source(repository, "main", "docs/**/*.md"), MAX_BYTES)
    assert contents("repo") == {"repo/docs/deep/a.md": b"# new"}


def test_contents_that_are_not_text_are_fetched_byte_for_byte(
    repository: Path, contents: Contents
) -> None:
    content = bytes(range(256))
    (repository / "a.bin").write_bytes(content)
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "add", "a.bin"], cwd=repository, check=True)
    subprocess.run(["git", *author, "commit", "-qm", "three"], cwd=repository, check=True)
    remote.fetch(git_source(repository, "main", "*.bin"), MAX_BYTES)
    assert contents("repo") == {"repo/a.bin": content}


def test_a_symbolic_link_has_the_content_of_its_file_and_none_leads_out(
    repository: Path, contents: Contents
) -> None:
    links = {
        "docs/copy.md": "deep/a.md",
        "docs/second.md": "copy.md",
        "docs/folder.md": "deep",
        "docs/out.md": "../../../../../etc/passwd",
        "docs/root.md": "/etc/passwd",
        "docs/circle.md": "circle.md",
    }
    for name, target in links.items():
        (repository / name).symlink_to(target)
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "add", "-A"], cwd=repository, check=True)
    subprocess.run(["git", *author, "commit", "-qm", "links"], cwd=repository, check=True)
    remote.fetch(git_source(repository, "main", "docs/**"), MAX_BYTES)
    nowhere = "a symbolic link that leads to no file of the repository"
    assert contents("repo") == {
        "repo/docs/circle.md": nowhere,
        "repo/docs/copy.md": b"# new",
        "repo/docs/deep/a.md": b"# new",
        "repo/docs/out.md": nowhere,
        "repo/docs/root.md": nowhere,
        "repo/docs/second.md": b"# new",
    }


def test_a_repository_or_revision_that_is_missing_and_globs_without_a_match_are_reported(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="source repo: Git says: .*does not appear to be a git"):
        remote.fetch(git_source(tmp_path / "gone", "v1", "*.md"), MAX_BYTES)
    with pytest.raises(UserError, match="source repo: .+ has no revision v9"):
        remote.fetch(git_source(repository, "v9", "*.md"), MAX_BYTES)
    with pytest.raises(UserError, match="no file of .+ at v1 matches"):
        remote.fetch(git_source(repository, "v1", "*.pdf"), MAX_BYTES)
