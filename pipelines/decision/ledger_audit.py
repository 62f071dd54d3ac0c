"""Checks the ledger from outside: what it says of itself, by tags, remotes and signatures."""

import shutil
from pathlib import Path

from pipelines.decision import ledger, signatures
from pipelines.errors import UserError
from pipelines.system import git

HOOK = Path(__file__).parents[2] / "infra/hooks/update"
UNSIGNED = (
    f"entries are not signed, since {signatures.FILE} names nobody: who made them is what people "
    "typed, and whoever can push the branch can write them"
)


def verify() -> list[str]:
    """What was found, a line each.

    Raises UserError if a line was changed, an entry is not signed by the person whom it names, a
    release's tag is not in the branch, or a remote's branch is not the same line of commits.
    """
    events = ledger.read()
    remarks = [f"{len(events)} entries, none of them changed, moved or removed"]
    tip = git.commit_of(ledger.REF)
    line = set(git.output("rev-list", "--first-parent", tip).splitlines()) if tip else set()
    problems = [*_moved_tags(events, line), *_diverged_remotes(tip)]
    if problems:
        raise UserError("\n".join(problems))
    remarks.append(_describe_signatures())
    return remarks


def _describe_signatures() -> str:
    trusted = signatures.signers()
    if trusted is None:
        return UNSIGNED
    if trusted.unsigned_until:
        return f"signed by the people whom they name, after {trusted.unsigned_until[:12]}"
    return "signed by the people whom they name"


def _moved_tags(events: list[ledger.Event], line: set[str]) -> list[str]:
    """Releases whose tag names a commit that is not the ledger's."""
    problems: list[str] = []
    for event in events:
        tag = f"release/{event.release_id}"
        commit = git.commit_of(f"refs/tags/{tag}")
        if event.kind == "released" and commit and line and commit not in line:
            problems.append(
                f"tag {tag} names {commit[:12]}, which is not in the branch {ledger.BRANCH}: the "
                "tag was moved or the branch rewritten"
            )
    return problems


def _diverged_remotes(tip: str | None) -> list[str]:
    """Remotes, as they were last fetched, whose branch neither continues this one nor begins it."""
    problems: list[str] = []
    pattern = f"refs/remotes/*/{ledger.BRANCH}"
    for ref in git.output("for-each-ref", "--format=%(refname)", pattern).splitlines():
        if tip and not _is_continued(tip, ref) and not _is_continued(ref, tip):
            problems.append(
                f"{ref} and {ledger.REF} went apart: a push rewound the ledger there, or two "
                f"clones released at once. Compare `git log {ref}` with `git log {ledger.BRANCH}`"
            )
    return problems


def _is_continued(older: str, newer: str) -> bool:
    """Whether the line of first parents of `newer` holds `older`."""
    commit = git.commit_of(older)
    return commit in git.output("rev-list", "--first-parent", newer).splitlines()


def protect(repository: Path) -> Path:
    """Install the hook that refuses to rewind the ledger; returns its file.

    Raises UserError if that is no Git repository of this machine, or has another hook.
    """
    answer = git.call("rev-parse", "--git-path", "hooks", folder=repository)
    if answer.returncode or not repository.is_dir():
        raise UserError(
            f"{repository} is not a Git repository on this machine. On a host that runs no hooks, "
            f"protect the branch {ledger.BRANCH} and the tags release/* in its settings: no force "
            "push, no deletion"
        )
    hook = repository / answer.stdout.strip() / HOOK.name
    if hook.exists() and hook.read_bytes() != HOOK.read_bytes():
        raise UserError(f"{hook} is there already and stays: let it call {HOOK} too")
    hook.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(HOOK, hook)
    return hook
