"""Files of a Git repository at a revision."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipelines import files
from pipelines.config.ingest import GitSource
from pipelines.corpus.problems import source_error
from pipelines.corpus.snapshots import Row, expand_variables, make_row
from pipelines.system import git
from pipelines.system.paths import state_folder

NO_PROMPT = {"GIT_TERMINAL_PROMPT": "0"}  # Git fails instead of asking for a password
ALL_REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


class Blob(NamedTuple):
    """A file in a commit."""

    path: str
    digest: str  # Git's id of its content


def read_repository(source: GitSource, max_bytes: int) -> Iterator[Row]:
    """Files that match the globs, sorted by path.

    Raises UserError if the repository or the revision cannot be had, or if nothing matches.
    """
    mirror = _update_mirror(source)
    commit = git.commit_of(source.revision, mirror)
    if commit is None:
        problem = f"{source.repository} has no revision {source.revision}"
        raise source_error(source.name, problem)
    blobs = _matching_blobs(source, _call(source, mirror, "ls-tree", "-r", "-z", commit))
    if not blobs:
        revision = f"{source.repository} at {source.revision}"
        raise source_error(source.name, f"no file of {revision} matches {source.globs}")
    for blob in blobs:
        content = _call(source, mirror, "cat-file", "blob", blob.digest)
        yield make_row(f"{source.name}/{blob.path}", content, max_bytes)


def _update_mirror(source: GitSource) -> Path:
    """A bare copy of the repository in `.state`, with all branches and tags of this moment."""
    mirror = state_folder() / "git" / files.text_digest(source.repository)[:16]
    url = expand_variables(source.repository, source.name)
    if not (mirror / "HEAD").exists():
        _call(source, Path(), "init", "--quiet", "--bare", str(mirror))
    _call(source, mirror, "fetch", "--quiet", "--force", "--prune", "--", url, *ALL_REFS)
    return mirror


def _matching_blobs(source: GitSource, listing: bytes) -> list[Blob]:
    """Files of an `ls-tree -r -z` listing that match the globs, sorted by path."""
    from pathspec import PathSpec

    patterns = PathSpec.from_lines("gitignore", source.globs)
    blobs: list[Blob] = []
    for line in listing.decode("utf-8", "backslashreplace").split("\0"):
        facts, _, path = line.partition("\t")
        if not path:
            continue
        _, kind, digest = facts.split()
        if kind == "blob" and patterns.match_file(path):
            blobs.append(Blob(path, digest))
    return sorted(blobs)


def _call(source: GitSource, folder: Path, *arguments: str) -> bytes:
    """What Git printed. The error leaves out the arguments: they may hold a password."""
    answer = git.call_bytes(*arguments, folder=folder, environment=NO_PROMPT)
    if answer.returncode:
        reason = answer.stderr.decode(errors="replace").strip()
        raise source_error(source.name, f"Git says: {reason}")
    return answer.stdout
