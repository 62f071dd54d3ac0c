"""Files of a Git repository at a revision."""

import posixpath
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipelines import files
from pipelines.config.ingest import GitSource
from pipelines.corpus.problems import source_error
from pipelines.corpus.snapshots import FetchBounds, Row, expand_variables, make_row
from pipelines.system import git
from pipelines.system.paths import state_folder

NO_PROMPT = {"GIT_TERMINAL_PROMPT": "0"}  # Git fails instead of asking for a password
ALL_REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


LINK_MODE = "120000"  # Git's mode of a symbolic link, whose content is the path it leads to
MAX_LINKS = 8  # of links to links


class Blob(NamedTuple):
    """A file in a commit, or a symbolic link."""

    path: str
    digest: str  # Git's id of its content
    is_link: bool


class Commit(NamedTuple):
    """The files and folders of a commit."""

    blobs: dict[str, Blob]  # by path
    folders: set[str]


def read_repository(source: GitSource, bounds: FetchBounds) -> Iterator[Row]:
    """Files that match the globs, sorted by path; a symbolic link has the content of its file.

    Raises UserError if the repository or the revision cannot be had, or if nothing matches.
    """
    mirror = _update_mirror(source)
    commit = git.commit_of(source.revision, mirror)
    if commit is None:
        problem = f"{source.repository} has no revision {source.revision}"
        raise source_error(source.name, problem)
    content = _list_commit(_call(source, mirror, "ls-tree", "-r", "-z", commit))
    blobs = _matching_blobs(source, content)
    if not blobs:
        revision = f"{source.repository} at {source.revision}"
        raise source_error(source.name, f"no file of {revision} matches {source.globs}")
    for blob in blobs:
        yield from _read_blob(source, mirror, content, blob, bounds.max_bytes)


def _read_blob(
    source: GitSource, mirror: Path, commit: Commit, blob: Blob, max_bytes: int
) -> Iterator[Row]:
    """The row of a file; none for a link to a folder, whose files have their own rows."""
    uri = f"{source.name}/{blob.path}"
    target: Blob | None = blob
    for _ in range(MAX_LINKS):
        if target is None or not target.is_link:
            break
        link = _call(source, mirror, "cat-file", "blob", target.digest)
        path = _follow(target.path, link)
        if path in commit.folders:
            return
        target = commit.blobs.get(path)
    if target is None or target.is_link:
        problem = "a symbolic link that leads to no file of the repository"
        yield make_row(uri, b"", max_bytes, problem=problem)
    else:
        yield make_row(uri, _call(source, mirror, "cat-file", "blob", target.digest), max_bytes)


def _follow(path: str, link: bytes) -> str:
    """The path in the commit that a link at this path leads to."""
    folder = posixpath.dirname(path)
    return posixpath.normpath(posixpath.join(folder, link.decode("utf-8", "backslashreplace")))


def _update_mirror(source: GitSource) -> Path:
    """A bare copy of the repository in `.state`, with all branches and tags of this moment."""
    mirror = state_folder() / "git" / files.text_digest(source.repository)[:16]
    url = expand_variables(source.repository, source.name)
    if not (mirror / "HEAD").exists():
        _call(source, Path(), "init", "--quiet", "--bare", str(mirror))
    _call(source, mirror, "fetch", "--quiet", "--force", "--prune", "--", url, *ALL_REFS)
    return mirror


def _list_commit(listing: bytes) -> Commit:
    """What `ls-tree -r -z` lists."""
    commit = Commit({}, set())
    for line in listing.decode("utf-8", "backslashreplace").split("\0"):
        facts, _, path = line.partition("\t")
        if not path:
            continue
        mode, kind, digest = facts.split()
        commit.folders.update(map(str, PurePosixPath(path).parents))
        if kind == "blob":
            commit.blobs[path] = Blob(path, digest, mode == LINK_MODE)
    return commit


def _matching_blobs(source: GitSource, commit: Commit) -> list[Blob]:
    """Files that match the globs, sorted by path."""
    from pathspec import PathSpec

    patterns = PathSpec.from_lines("gitignore", source.globs)
    return sorted(blob for path, blob in commit.blobs.items() if patterns.match_file(path))


def _call(source: GitSource, folder: Path, *arguments: str) -> bytes:
    """What Git printed. The error leaves out the arguments: they may hold a password."""
    answer = git.call_bytes(*arguments, folder=folder, environment=NO_PROMPT)
    if answer.returncode:
        reason = answer.stderr.decode(errors="replace").strip()
        raise source_error(source.name, f"Git says: {reason}")
    return answer.stdout
