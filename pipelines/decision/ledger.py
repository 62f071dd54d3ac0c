"""The ledger of releases: who released, refused, approved, overrode or rolled back what, and why.

It is models/releases.jsonl, one JSON object a line, on the Git branch `releases`: one ledger for a
clone, whatever work tree a run is in. A line is added by a commit that is made beside the work tree
(a temporary index, `commit-tree`, `update-ref` with the old value), so nobody's checkout or index
changes, and of two simultaneous writers both get their line. The commits chain the versions of the
file; whoever reads it checks that each version is the one before it plus lines.

A release's commit holds all files of that release and has the tag `release/<id>`:
`git checkout release/<id> && dvc checkout` brings them back.
"""

import datetime
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from pipelines.contracts.champion import Champion
from pipelines.decision import signatures
from pipelines.errors import UserError
from pipelines.files import digest
from pipelines.system import git

BRANCH = "releases"
FILE = "models/releases.jsonl"
PAPERS = "models/papers"  # the last release's model card and list of parts
STEPS_FILE = "models/release_steps.json"  # what the steps of the last attempt to release saw
REF = f"refs/heads/{BRANCH}"
# Stages and commands write these, so the user's own commits may not have them yet. A release's
# commit holds them whatever .gitignore says.
RESULTS = (
    "dvc.lock",
    "data/index.json",
    "models/champion.json",
    "models/champion.dvc",
    "models/.gitignore",
    "data/reports/validation.json",
    "data/reports/examples_validation.json",
    "data/reports/embedding.json",
    "data/reports/scores.json",
    "data/reports/metrics.json",
    "data/reports/timings.json",
    "data/reports/verdict.json",
    "data/reports/sbom.cdx.json",
)
REMEDY = (
    f"The ledger of releases is the branch {BRANCH}: work in a Git clone with at least one commit"
)
ATTEMPTS = 50  # simultaneous writers that each get their turn
NO_FILE = "0"  # each digit of the id by which Git means that there is no file
OPTIONAL_KEYS = ("expected_latency_ratio", "expected_refused_increase", "undecided", "shadow")
OLD_CHAIN_KEYS = ("previous", "digest")  # in lines from before Git's commits were the only chain


class Event(BaseModel):
    """One line of the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["approved", "compared", "overridden", "refused", "released", "rolled_back"]
    # What decided: approval, gate, infra validation, shadow, canary, release, rollback,
    # experiment start, experiment stop.
    step: str
    release_id: str | None
    candidate: str | None  # digest of the adapter
    who: str
    why: str
    when: str  # ISO 8601 with zone
    scores: dict[str, float]
    seen: dict[str, str]  # file -> sha256 of what the decision rests on
    # The release that is live from this line on; null if the line changes nothing.
    champion: Champion | None
    # In what this release is meant to differ from the one before it, as `who` declared: how many
    # times as long it may take to answer, and how much more it may refuse.
    expected_latency_ratio: float | None = None
    expected_refused_increase: float | None = None
    # What the canary could neither find nor rule out, if the release took over all the same.
    undecided: list[str] = []
    # What both releases answered to the same questions before the canary, in numbers.
    shadow: str = ""

    @model_serializer(mode="wrap")
    def _leave_out_what_was_not_said(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A line without a declaration, like all older ones, does not have its key."""
        fields: dict[str, Any] = dump(self)
        for key in OPTIONAL_KEYS:
            if not fields.get(key):
                fields.pop(key, None)
        return fields


class Version(NamedTuple):
    """The ledger's file as one commit left it."""

    commit: str
    blob: str  # Git's id of the content; zeros if the commit removed the file


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def file_digests(paths: list[Path]) -> dict[str, str]:
    """Path -> sha256 of the files among `paths` that exist."""
    return {path.as_posix(): digest(path) for path in paths if path.exists()}


def require_author(who: str, why: str) -> None:
    """Raises UserError if one of them is empty."""
    if not who.strip() or not why.strip():
        raise UserError("--who and --why must not be empty: others read them in the ledger")


def read() -> list[Event]:
    """All events, oldest first; none before the first.

    Raises UserError with the line's number if a line was changed or is not an event.
    """
    tip = _tip()
    return _parse(_checked_text(tip), tip)


def champion() -> Champion | None:
    """The release that is live according to the ledger."""
    for event in reversed(read()):
        if event.champion:
            return event.champion
    return None


def find_release(release_id: str) -> Champion | None:
    """A release of the past by its id."""
    for event in reversed(read()):
        if event.champion and event.champion.release_id == release_id:
            return event.champion
    return None


def append(
    event: Event,
    *,
    whole_release: bool = False,
    steps: str | None = None,
    papers: Mapping[str, str] | None = None,
) -> str:
    """Add a line; returns the commit.

    `whole_release` puts the work tree's files of the release into that commit and tags it; `steps`:
    what its steps saw (contracts/release_steps.py), as a file of the commit; `papers`: its model
    card and the like by file name, also in it.
    """
    for _ in range(ATTEMPTS):
        tip = _tip()
        contents = {FILE: _checked_text(tip) + _line(event)}
        if steps is not None:
            contents[STEPS_FILE] = steps
        for name, text in (papers or {}).items():
            contents[f"{PAPERS}/{name}"] = text
        tree = _write_tree(contents, tip, whole_release)
        parents = [tip] if tip else []
        if whole_release:
            parents = [tip or _write_first_commit(event.who), *_head()]
        commit = _write_commit(event, tree, parents)
        if whole_release and event.release_id and find_release(event.release_id) is None:
            # Before the line: a kill between the two must not leave a line without its files.
            _git("update-ref", f"refs/tags/release/{event.release_id}", commit)
        if _move_branch(tip, commit):
            return commit
    raise UserError(
        f"the branch {BRANCH} was changed {ATTEMPTS} times while a line was added to it: "
        "run the same command again"
    )


def versions_of(path: str) -> Iterator[tuple[str, str]]:
    """Commit and text of each version of a file on the branch, oldest first."""
    tip = _tip()
    for version in reversed(_versions(tip, path) if tip else []):
        text = git.file_at(version.commit, path)
        if text is not None:  # else this commit does not have the file
            yield version.commit, text


def _write_tree(contents: dict[str, str], tip: str | None, whole_release: bool) -> str:
    """A Git tree with these texts by path; returns its id."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if whole_release:
            results = [path for path in RESULTS if Path(path).exists()]
            _git("read-tree", "HEAD", environment=index)
            _git("add", "--update", "--", ":/", environment=index)
            _git("add", "--force", "--", *results, environment=index)
        elif tip:
            _git("read-tree", tip, environment=index)
        for path, text in contents.items():
            blob = _git("hash-object", "-w", "--stdin", stdin=text)
            entry = f"100644,{blob},{path}"
            _git("update-index", "--add", "--cacheinfo", entry, environment=index)
        return _git("write-tree", environment=index)


def _write_first_commit(who: str) -> str:
    """A commit without parents that holds an empty ledger; returns its id.

    The branch's versions are found by following first parents. If a release were the first commit,
    that would lead into the history of the code, where a file of this name may have been as well.
    """
    tree = _write_tree({FILE: ""}, None, whole_release=False)
    return _commit_tree(tree, [], "Begin the ledger of releases\n", who)


def _head() -> list[str]:
    head = git.commit_of("HEAD")
    return [head] if head else []


def _write_commit(event: Event, tree: str, parents: list[str]) -> str:
    subject = f"{event.kind.replace('_', ' ')}: {event.release_id or event.candidate or ''}"
    message = f"{subject}\n\n{event.step}: {event.why}\n"
    commit = _commit_tree(tree, parents, message, event.who)
    if signatures.signers():
        signatures.require_own(commit, _line(event))
    return commit


def _commit_tree(tree: str, parents: list[str], message: str, who: str) -> str:
    """Write a commit, signed if infra/allowed_signers names people; returns its id."""
    options = list(signatures.options())
    for parent in parents:
        options += ["-p", parent]
    words = (*signatures.AS_SSH, "commit-tree", tree, *options)
    answer = git.call(*words, stdin=message, environment=_identity(who))
    if answer.returncode and signatures.signers():
        raise UserError(
            f"this entry of the ledger cannot be signed: {answer.stderr.strip()}\n"
            f"{signatures.FILE} names people, so entries are signed: name your SSH key by "
            "`git config user.signingkey FILE.pub`"
        )
    if answer.returncode:
        raise UserError(f"{answer.stderr.strip()}\n{REMEDY}")
    return answer.stdout.strip()


def _identity(who: str) -> dict[str, str]:
    """Git's variables for an author and committer of that name."""
    email = git.call("config", "user.email").stdout.strip() or "releases@localhost"
    return {
        "GIT_AUTHOR_NAME": who,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": who,
        "GIT_COMMITTER_EMAIL": email,
    }


def _move_branch(tip: str | None, commit: str) -> bool:
    """Move the branch to `commit` unless somebody else has moved it since `tip` was read."""
    local = git.commit_of(REF)
    if local is None and tip is None and _tip() is not None:
        return False
    if local not in (None, tip):
        return False
    old_value = local or "0" * len(commit)
    return git.call("update-ref", REF, commit, old_value).returncode == 0


def _tip() -> str | None:
    """The branch's commit: this clone's, else the one that was fetched from origin."""
    return git.commit_of(REF) or git.commit_of(f"refs/remotes/origin/{BRANCH}")


def _checked_text(tip: str | None) -> str:
    """The file at `tip`. Raises UserError if a line of it was not only ever appended to."""
    if tip is None:
        return ""
    text = git.file_at(tip, FILE)
    if text is None:
        raise UserError(
            f"the branch {BRANCH} has no {FILE} at {tip[:12]}: move it back to a commit that has "
            "the file, or rename it if it is not the ledger's branch"
        )
    lines = _lines(text)
    counts = _line_counts(lines, len(tip))
    later_count = len(lines)
    entries: dict[str, list[str]] = {}
    commit = ""
    for version in _versions(tip):
        count = counts.get(version.blob)
        if count is None or count > later_count:
            raise _rewritten(lines, version, tip)
        if commit:
            entries[commit] = lines[count:later_count]
        commit = version.commit
        later_count = count
    if commit:
        entries[commit] = lines[:later_count]
    signatures.require(tip, entries)
    return text


def _line_counts(lines: list[str], id_length: int) -> dict[str, int]:
    """Git's id of the file's first `count` lines -> `count`, for each possible count.

    A thousand lines take about a second; a team needs years to get there.
    """
    content = b""
    counts = {NO_FILE * id_length: 0, _blob_id(content, id_length): 0}
    for count, line in enumerate(lines, start=1):
        content += f"{line}\n".encode()
        counts[_blob_id(content, id_length)] = count
    return counts


def _blob_id(content: bytes, id_length: int) -> str:
    """Git's id of a file with that content."""
    algorithm = "sha1" if id_length == 40 else "sha256"
    header = f"blob {len(content)}\0".encode()
    return hashlib.new(algorithm, header + content, usedforsecurity=False).hexdigest()


def _versions(tip: str, path: str = FILE) -> list[Version]:
    """Every version of a file on the branch, newest first."""
    options = ("--first-parent", "-m", "--raw", "--no-abbrev", "--no-follow", "--format=%H")
    log = _git("log", *options, tip, "--", path)
    versions: list[Version] = []
    commit = ""
    for line in log.splitlines():
        # `:100644 100644 <old blob> <new blob> M<tab><path>`, after its commit.
        if line.startswith(":"):
            versions.append(Version(commit, line.split()[3]))
        elif line:
            commit = line
    return versions


def _rewritten(lines: list[str], version: Version, tip: str) -> UserError:
    """The error for a tip that does not continue an earlier version."""
    earlier_lines = _lines(git.file_at(version.commit, FILE) or "")
    number = 1
    for earlier, later in zip(earlier_lines, lines, strict=False):
        if earlier != later:
            break
        number += 1
    return UserError(
        f"{_name(tip)}:{number}: was changed, moved or removed after commit {version.commit[:12]} "
        "recorded it. The ledger is only ever appended to: move the branch back to that commit "
        f"(`git branch --force {BRANCH} {version.commit[:12]}`), or restore it from another clone"
    )


def _lines(text: str) -> list[str]:
    """Lines without their ends; `splitlines` would also split at U+2028, which JSON allows."""
    return text.removesuffix("\n").split("\n") if text else []


def _line(event: Event) -> str:
    """All ASCII, so that no editor or terminal breaks the line."""
    return json.dumps(event.model_dump(mode="json"), sort_keys=True, allow_nan=False) + "\n"


def _parse(text: str, tip: str | None) -> list[Event]:
    events: list[Event] = []
    for number, line in enumerate(_lines(text), start=1):
        try:
            entry = json.loads(line)
            for key in OLD_CHAIN_KEYS:
                entry.pop(key, None)
            events.append(Event.model_validate(entry))
        except (ValueError, AttributeError) as error:
            raise UserError(
                f"{_name(tip)}:{number}: is not an event of the ledger: {error}"
            ) from error
    return events


def _name(tip: str | None) -> str:
    return f"{FILE} at {(tip or 'new')[:12]} (branch {BRANCH})"


def _git(*words: str, stdin: str | None = None, environment: dict[str, str] | None = None) -> str:
    try:
        return git.output(*words, stdin=stdin, environment=environment)
    except UserError as error:
        raise UserError(f"{error}\n{REMEDY}") from error
