"""Knows the ledger of releases: who released, refused, approved, overrode or rolled back what, when, why, at which scores.

It is models/releases.jsonl, a hash chain (pipelines/hashchain.py), on the Git branch `releases`: one ledger a clone, whatever work tree
a run is in. A line is added by a commit made beside the work tree (a temporary index, `commit-tree`, `update-ref` with the old value), so
nobody's checkout or index changes and two writers at once both get their line. A release's commit holds all files of that release
and the tag `release/<id>`: `git checkout release/<id> && dvc checkout` brings them.
"""

import datetime
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines import hashchain
from pipelines.contracts.champion import Champion
from pipelines.errors import UserError
from pipelines.files import digest

BRANCH, FILE = "releases", "models/releases.jsonl"
REF = f"refs/heads/{BRANCH}"
# Made by stages and commands, so perhaps not in the user's own commits yet; a release's commit holds them whatever .gitignore says.
RESULTS = (
    "dvc.lock", "data/index.json", "models/champion.json", "models/champion.dvc", "models/.gitignore", "data/reports/validation.json", "data/reports/examples_validation.json",
    "data/reports/embedding.json", "data/reports/scores.json", "data/reports/metrics.json", "data/reports/timings.json", "data/reports/verdict.json",
)  # fmt: skip
ATTEMPTS = 50  # writers at once that each get their turn


class Event(BaseModel):
    """One line of the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["approved", "overridden", "refused", "released", "rolled_back"]
    step: str  # what decided: approval, gate, infra validation, canary, release, rollback
    release_id: str | None
    candidate: str | None  # digest of the adapter
    who: str
    why: str
    when: str  # ISO 8601 with zone
    scores: dict[str, float]
    seen: dict[str, str]  # file -> sha256 of what the decision rests on
    champion: Champion | None  # the release that is live from this line on; null where the line changes nothing


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def seen(paths: list[Path]) -> dict[str, str]:
    """Digests of the files among `paths` that are there."""
    return {path.as_posix(): digest(path) for path in paths if path.exists()}


def read() -> list[Event]:
    """All events, oldest first; none before the first. Raises UserError naming the line where the chain is broken."""
    tip = _tip()
    return _parsed(_text(tip), tip) if tip else []


def champion() -> Champion | None:
    """The release that the ledger says is live."""
    return next((event.champion for event in reversed(read()) if event.champion), None)


def released(release_id: str) -> Champion | None:
    """A release of the past by its id."""
    return next((event.champion for event in reversed(read()) if event.champion and event.champion.release_id == release_id), None)


def append(event: Event, *, whole_release: bool = False) -> str:
    """Add a line; returns the commit. `whole_release` puts the work tree's files of the release into that commit and tags it."""
    for _ in range(ATTEMPTS):
        tip = _tip()
        commit = _commit(event, tip, whole_release)
        if whole_release and event.release_id and released(event.release_id) is None:  # before the line: a kill between the two must not leave a line without its files
            _git("update-ref", f"refs/tags/release/{event.release_id}", commit)
        if _moved(tip, commit):
            return commit
    raise UserError(f"the branch {BRANCH} was changed {ATTEMPTS} times while a line was added to it: run the same command again")


def show(commit: str, path: str) -> bytes:
    """A file of a commit. Raises UserError where there is none."""
    return _git("cat-file", "blob", f"{commit}:{path}")


def _commit(event: Event, tip: str | None, whole_release: bool) -> str:
    text = hashchain.extended(_text(tip), event.model_dump(mode="json"), _name(tip))
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if whole_release:
            _git("read-tree", "HEAD", environment=index)
            _git("add", "--update", "--", ":/", environment=index)
            there = [path for path in RESULTS if Path(path).exists()]
            _git("add", "--force", "--", *there, environment=index)
        elif tip:
            _git("read-tree", tip, environment=index)
        blob = _git("hash-object", "-w", "--stdin", given=text.encode()).decode().strip()
        _git("update-index", "--add", "--cacheinfo", f"100644,{blob},{FILE}", environment=index)
        tree = _git("write-tree", environment=index).decode().strip()
    parents = [word for parent in (tip, _resolved("HEAD") if whole_release else None) if parent for word in ("-p", parent)]
    who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (("NAME", event.who), ("EMAIL", _email()))}
    message = f"{event.kind.replace('_', ' ')}: {event.release_id or event.candidate or ''}\n\n{event.step}: {event.why}\n"
    return _git("commit-tree", tree, *parents, given=message.encode(), environment=who).decode().strip()


def _moved(tip: str | None, commit: str) -> bool:
    """Move the branch to `commit` unless somebody else has moved it since `tip` was read."""
    local = _resolved(REF)
    if local is None and tip is None and _tip() is not None:
        return False
    if local not in (None, tip):
        return False
    return subprocess.run(["git", "update-ref", REF, commit, local or "0" * len(commit)], capture_output=True).returncode == 0


def _tip() -> str | None:
    """The branch's commit: this clone's, else the one that was fetched from origin."""
    return _resolved(REF) or _resolved(f"refs/remotes/origin/{BRANCH}")


def _resolved(name: str) -> str | None:
    asked = subprocess.run(["git", "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}"], capture_output=True, text=True)
    return asked.stdout.strip() if asked.returncode == 0 else None


def _email() -> str:
    asked = subprocess.run(["git", "config", "user.email"], capture_output=True, text=True)
    return asked.stdout.strip() or "releases@localhost"


def _text(tip: str | None) -> str:
    return show(tip, FILE).decode() if tip else ""


def _name(tip: str | None) -> str:
    return f"{FILE} at {(tip or 'new')[:12]} (branch {BRANCH})"


def _parsed(text: str, tip: str) -> list[Event]:
    found = []
    for number, entry in enumerate(hashchain.parse(text, _name(tip)), start=1):
        try:
            found.append(Event.model_validate(entry))
        except ValidationError as error:
            raise UserError(f"{_name(tip)}:{number}: is no event of the ledger: {error}") from error
    return found


def _git(*words: str, given: bytes = b"", environment: dict[str, str] | None = None) -> bytes:
    done = subprocess.run(["git", *words], input=given, capture_output=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        raise UserError(f"git {words[0]} failed: {done.stderr.decode(errors='replace').strip()}\nThe ledger of releases is the branch {BRANCH}: work in a Git clone with at least one commit")
    return done.stdout
