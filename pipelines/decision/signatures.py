"""Who signed the ledger: SSH signatures of Git's commits, held against infra/allowed_signers.

That file is in Git's own format, so whoever changes it is reviewed like everybody who changes code.
It counts as the protected branch has it, not as a work tree does. Without an entry nothing is
signed and nothing is asked for.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.system import git

FILE = "infra/allowed_signers"
# The main branch of the repository that people push to; else the clone's own commit, in whatever
# work tree of it this runs.
REVISIONS = ("refs/remotes/origin/HEAD", "main-worktree/HEAD")
UNSIGNED_UNTIL = re.compile(r"^#\s*unsigned until ([0-9a-f]{40,64})\s*$", re.MULTILINE)
DELEGATE = "airflow"  # the key of workers, who sign for people that log in to Airflow
GOOD = "G"  # Git's word for a good signature by a key of the file
WORDS = {"N": "is not signed", "U": f"is signed by a key that is not in {FILE}"}
AS_SSH = ("-c", "gpg.format=ssh")


class Signers(NamedTuple):
    """The file's content."""

    text: str
    unsigned_until: str | None  # the last commit that needs no signature


class Signature(NamedTuple):
    """Of a commit."""

    status: str  # one letter, as `git log --format=%G?` prints it
    owner: str  # of the key; empty if the signature is not good


def signers() -> Signers | None:
    """Who may sign; None if nobody is named, so that nothing is signed.

    Raises UserError if the file names a last unsigned commit but no key.
    """
    for revision in REVISIONS:
        if git.commit_of(revision):
            text = git.file_at(revision, FILE) or ""
            break
    else:
        return None
    mark = UNSIGNED_UNTIL.search(text)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if lines:
        return Signers(text, mark[1] if mark else None)
    if mark:
        raise UserError(f"{FILE}: says `unsigned until` but names no key: add a line for a person")
    return None


def require(tip: str, entries: Mapping[str, list[str]]) -> None:
    """Raises UserError if an entry of the ledger is not signed by the person whom it names.

    `entries`: commit -> the lines of the ledger that it added, the newest commit first.
    """
    people = signers()
    if people is None:
        return
    last_unsigned = people.unsigned_until
    if last_unsigned and last_unsigned not in entries:
        raise UserError(
            f"{FILE}: `unsigned until {last_unsigned[:12]}`: the ledger does not hold this commit, "
            "so its history was rewritten (or the id is wrong). Restore the branch from a clone "
            "that has it"
        )
    signatures = _signatures(tip, people.text)
    for commit, lines in entries.items():
        if commit == last_unsigned:
            return
        problem = problem_of(signatures[commit], lines)
        if problem:
            raise UserError(
                f"the ledger's commit {commit[:12]} {problem}. Nothing is released or judged by "
                "such a ledger: move the branch `releases` back to the commit before it, after "
                "asking who made it (`git log --show-signature releases`)"
            )


def problem_of(signature: Signature, lines: list[str]) -> str | None:
    """What is wrong with a commit that added these lines; None if nothing is."""
    if signature.status != GOOD:
        return WORDS.get(signature.status, "has a signature that is not good")
    for line in lines:
        who = json.loads(line).get("who")
        if signature.owner not in (who, DELEGATE):
            return f"has an entry of {who!r} but is signed by {signature.owner!r}"
    return None


def require_own(commit: str, line: str) -> None:
    """Raises UserError if a commit that was just signed here would not be accepted."""
    people = signers()
    assert people is not None
    signature = _signatures(commit, people.text)[commit]
    problem = problem_of(signature, [line])
    if problem:
        raise UserError(
            f"this entry of the ledger {problem}. --who is the owner of the key that "
            f"`git config user.signingkey` names, as {FILE} of the protected branch has it"
        )


def options() -> tuple[str, ...]:
    """Of `git commit-tree`, so that it signs."""
    return ("-S",) if signers() else ()


@cache
def _signatures(tip: str, text: str) -> dict[str, Signature]:
    """Commit -> signature, over the first parents of `tip`; Git runs ssh-keygen for each."""
    with _file_with(text) as path:
        setting = ("-c", f"gpg.ssh.allowedSignersFile={path}")
        log = ("log", "--first-parent", "--format=%H %G? %GS", tip)
        output = git.output(*AS_SSH, *setting, *log)
    signatures: dict[str, Signature] = {}
    for line in output.splitlines():
        commit, status, owner = line.split(" ", 2)
        signatures[commit] = Signature(status, owner)
    return signatures


@contextmanager
def _file_with(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "allowed_signers"
        path.write_text(text, encoding="utf-8")
        yield path
