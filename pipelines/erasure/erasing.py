"""Erasure as a whole: everything that is found, its removal, and the record of it."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.decision import erasures, ledger
from pipelines.erasure import clone_files, gateway_tables, passages, traffic
from pipelines.erasure.finding import Finding
from pipelines.erasure.layout import RAW
from pipelines.erasure.subject import Subject
from pipelines.errors import UserError
from pipelines.gateway import database
from pipelines.monitoring import cycle
from pipelines.runs import data
from pipelines.system import git, locks, paths

# In the order of removal: by the log and the gateway's table a tenant's requests are known.
FINDERS: dict[str, Callable[[Subject], Iterator[Finding]]] = {
    "Weaviate": passages.find,
    "the files of this clone": clone_files.find,
    "the traffic log": traffic.find,
    "the gateway's database": gateway_tables.find,
}


@dataclass(frozen=True)
class Erasure:
    """What was removed, and what only people can remove."""

    removals: list[Finding]
    leftovers: list[Finding]


def find(subject: Subject) -> list[Finding]:
    """Everything in this clone, its Weaviate and its gateway's database.

    Raises UserError if one of them cannot be looked at.
    """
    findings: list[Finding] = []
    leftovers: dict[str, Finding] = {}  # a document may be found as a file and by what was read
    for name, find_there in FINDERS.items():
        print(f"looking at {name} ...", flush=True)
        for finding in find_there(subject):
            if finding.remove is None:
                leftovers[finding.location] = finding
            else:
                findings.append(finding)
    return [*findings, *leftovers.values()]


def erase(
    subject: Subject, who: str, why: str, announce: Callable[[list[Finding]], None]
) -> Erasure:
    """Remove everything that is found, look again, and put it on record.

    Nothing is removed before every place could be looked at, and `announce` was told what was
    found. Raises UserError if something is found again, because a running command wrote it.
    """
    # Whoever judges a window meanwhile would read rows that go.
    with locks.exclusive(paths.state_folder() / cycle.LOCK):
        findings = find(subject)
        announce(findings)
        contents = [digest for finding in findings for digest in finding.contents]
        erasures.begin(subject.kind, who, why, contents)
        removals = [finding for finding in findings if _remove(finding)]
        leftovers = {item.location: item for item in findings if item.remove is None}
        for finding in find(subject):
            _demand_authored(finding)
            # Documents of which nobody can say any more whom they speak of: the first look could.
            if finding.location != RAW.as_posix():
                leftovers[finding.location] = finding
        erasure = Erasure(removals, list(leftovers.values()))
        _record(subject, erasure)
        return erasure


def _remove(finding: Finding) -> bool:
    """Remove it if that is possible; returns whether it was."""
    if finding.remove is None:
        return False
    finding.remove()
    return True


def _demand_authored(finding: Finding) -> None:
    """Raises UserError if what was removed is there again."""
    if finding.remove is not None:
        raise UserError(
            f"{finding.location}: {finding.count} {finding.unit} came back while the rest was "
            "removed: end what writes there (`make run`, `make airflow`, a batch), then run "
            "the same command again"
        )


def _record(subject: Subject, erasure: Erasure) -> None:
    counts: dict[str, int] = {}
    for finding in erasure.removals:
        counts[finding.location] = counts.get(finding.location, 0) + finding.count
    num_left = sum(finding.count for finding in erasure.leftovers)
    erasures.end(subject.kind, counts, num_left)


def elsewhere(subject: Subject) -> list[str]:
    """Where it may still be, though no command of this clone can look or remove there."""
    return [
        *_git_history(subject),
        *_remotes(),
        *_releases(),
        *_databases(),
        "the memory of a running gateway: kept answers, until gateway.cache.ttl_seconds have "
        "passed; `make serve` anew forgets them at once",
        "Airflow's database and logs, which quote questions of windows: `airflow db clean`",
        "backups, and clones and workers on other machines: run this there too",
    ]


def _git_history(subject: Subject) -> Iterator[str]:
    """Commits whose files, messages or authors name it, as far as Git's own search finds them."""
    commits: set[str] = set()
    for words in _searches(subject):
        commits.update(git.output("log", "--all", "--format=%h", *words).split())
    yield (
        f"Git's history: `git log` finds it in {len(commits)} commits, spelt like that; "
        "`git filter-repo` rewrites them, and whoever has a clone needs a new one"
    )


def _searches(subject: Subject) -> Iterator[list[str]]:
    name = subject.name
    if subject.kind == "document":
        yield ["--", (RAW / name).as_posix()]
        return
    for text in {name, json.dumps(name)[1:-1]}:  # records in JSON write ë as \u00eb
        yield ["--regexp-ignore-case", "-S", text]
    for option in ("--author", "--committer", "--grep"):
        yield ["--regexp-ignore-case", "--fixed-strings", f"{option}={name}"]


def _remotes() -> Iterator[str]:
    lines = data.dvc(Path(), "config", "--list").splitlines()
    for line in lines:
        name = line.partition("=")[0]
        if name.startswith("remote.") and name.endswith(".url"):
            remote = name.removeprefix("remote.").removesuffix(".url")
            yield (
                f"the DVC remote {remote}: files of earlier runs, until after the next run and "
                f"`dvc push` somebody calls `dvc gc --workspace --cloud --remote {remote}`"
            )


def _releases() -> Iterator[str]:
    releases = {event.release_id for event in ledger.read() if event.kind == "released"}
    if releases:
        yield (
            f"the weights of {len(releases)} releases, which may have learned from it: train and "
            "release anew, then `git tag --delete release/ID` of the old ones"
        )


def _databases() -> Iterator[str]:
    """Which of several stores were looked at; a container of a team has not the address of all."""
    name = os.environ.get("WEAVIATE_URL", "the embedded one")
    yield f"another Weaviate than {name}, if there is one: set WEAVIATE_URL"
    is_file = (database.default_folder() / "gateway.sqlite").exists()
    if database.VARIABLE in os.environ:
        if is_file:
            yield f"{database.default_folder()}: a gateway's file beside {database.VARIABLE}"
    elif not is_file:
        yield f"a gateway's database: none was looked at, for {database.VARIABLE} is not set"
