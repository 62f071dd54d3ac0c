"""Erasure as a whole: everything that is found, its removal, and the record of it.

The record (data/erasures.jsonl, a hash chain) says who erased what kind of thing, when, why, and
how much was where. It does not say whom or what: that would keep what was to go.
"""

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.decision import ledger
from pipelines.erasure import clone_files, gateway_tables, passages, traffic
from pipelines.erasure.clone_files import RAW, RECORD
from pipelines.erasure.finding import Finding
from pipelines.erasure.subject import Subject
from pipelines.errors import UserError
from pipelines.monitoring import cycle
from pipelines.runs import data
from pipelines.system import git, hash_chain, locks, paths

# In the order of removal: the gateway's table of requests, by which a tenant's rows are known, and
# what people wrote come last.
FINDERS: dict[str, Callable[[Subject], Iterator[Finding]]] = {
    "Weaviate": passages.find,
    "the traffic log": traffic.find,
    "the gateway's database": gateway_tables.find,
    "the files of this clone": clone_files.find,
}


@dataclass(frozen=True)
class Erasure:
    """What was removed, and what only people can remove."""

    removals: list[Finding]
    leftovers: list[Finding]


def find(subject: Subject) -> list[Finding]:
    """Everything in this clone, its Weaviate and its gateway's database.

    Raises UserError if a place cannot be looked at.
    """
    findings: list[Finding] = []
    for name in FINDERS:
        findings += _look(name, subject)
    return findings


def _look(name: str, subject: Subject) -> list[Finding]:
    print(f"looking at {name} ...", flush=True)
    return list(FINDERS[name](subject))


def erase(subject: Subject, who: str, why: str) -> Erasure:
    """Remove everything that is found, look again, and put it on record.

    Nothing is removed before every place could be looked at. Raises UserError if something is found
    again, because a running command wrote it.
    """
    # Whoever judges a window meanwhile would read rows that go.
    with locks.exclusive(paths.state_folder() / cycle.LOCK):
        removals: list[Finding] = []
        leftovers: dict[str, Finding] = {}
        for finding in find(subject):
            if finding.remove is None:
                leftovers[finding.location] = finding
            else:
                finding.remove()
                removals.append(finding)
        for finding in find(subject):
            _demand_authored(finding)
            leftovers[finding.location] = finding
        erasure = Erasure(removals, list(leftovers.values()))
        hash_chain.append(RECORD, _entry(subject, erasure, who, why))
        return erasure


def _demand_authored(finding: Finding) -> None:
    """Raises UserError if what was removed is there again."""
    if finding.remove is not None:
        raise UserError(
            f"{finding.location}: {finding.count} {finding.unit} came back while the rest was "
            "removed: end what writes there (`make run`, `make airflow`, a batch), then run "
            "the same command again"
        )


def _entry(subject: Subject, erasure: Erasure, who: str, why: str) -> dict[str, object]:
    counts: dict[str, int] = {}
    for finding in erasure.removals:
        counts[finding.location] = counts.get(finding.location, 0) + finding.count
    return {
        "kind": subject.kind,
        "who": who,
        "why": why,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "removed": counts,
        "num_left": sum(finding.count for finding in erasure.leftovers),
    }


def elsewhere(subject: Subject) -> list[str]:
    """Where it may still be, though no command of this clone can look or remove there."""
    locations = [*_git_history(subject), *_remotes(), *_releases(subject)]
    if subject.kind != "tenant":
        locations.append(
            "the memory of a running gateway: kept answers, until gateway.cache.ttl_seconds have "
            "passed; `make serve` anew forgets them at once"
        )
    locations.append(
        "Airflow's database and logs, which quote questions of windows: `airflow db clean`"
    )
    locations.append("backups, and clones and workers on other machines: run this there too")
    return locations


def _git_history(subject: Subject) -> Iterator[str]:
    if subject.kind == "tenant":
        return
    words = ["log", "--all", "--format=%h"]
    if subject.kind == "document":
        words += ["--", (RAW / subject.name).as_posix()]
    else:
        words += ["--regexp-ignore-case", "-S", subject.name]
    commits = git.output(*words).split()
    if commits:
        yield (
            f"Git's history: {len(commits)} commits, the newest {commits[0]}: `git filter-repo` "
            "rewrites them, and whoever has a clone needs a new one"
        )


def _remotes() -> Iterator[str]:
    lines = data.dvc(Path(), "config", "--list").splitlines()
    for line in lines:
        name, _, _url = line.partition("=")
        if name.startswith("remote.") and name.endswith(".url"):
            remote = name.removeprefix("remote.").removesuffix(".url")
            yield (
                f"the DVC remote {remote}: files of earlier runs, until after the next run and "
                f"`dvc push` somebody calls `dvc gc --workspace --cloud --remote {remote}`"
            )


def _releases(subject: Subject) -> Iterator[str]:
    if subject.kind == "tenant":
        return
    releases = {event.release_id for event in ledger.read() if event.kind == "released"}
    if releases:
        yield (
            f"the weights of {len(releases)} releases, which may have learned from it: train and "
            "release anew, then `git tag --delete release/ID` of the old ones"
        )
