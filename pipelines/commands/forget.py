"""Remove a document, a person or a tenant from everything that this clone keeps.

Without --yes it only lists what it would remove.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from pipelines.decision import ledger
from pipelines.decision.erasures import RECORD
from pipelines.erasure import erasing
from pipelines.erasure.finding import Finding
from pipelines.erasure.subject import Kind, Subject
from pipelines.errors import UserError
from pipelines.system import paths
from pipelines.vectorstore import server_address


def add_arguments(parser: argparse.ArgumentParser) -> None:
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--document", metavar="URI", help="as citations name it: handbook/gate.md")
    subject.add_argument("--person", metavar="TEXT", help="a name, an address, a number")
    subject.add_argument("--tenant", metavar="NAME", help="with its keys, requests and accounts")
    parser.add_argument("--who", required=True, help="who erases it")
    parser.add_argument("--why", required=True, help="why, in a sentence without the data itself")
    parser.add_argument("--yes", action="store_true", help="remove what is listed")


def run(arguments: argparse.Namespace) -> int:
    """List or remove. The exit code is 1 if something is left for people to remove."""
    clone = paths.state_folder().parent
    if clone.resolve() != Path.cwd().resolve():
        raise UserError(f"traffic and caches are in {clone}: run this there, not in {Path.cwd()}")
    _demand_owner(paths.state_folder())
    ledger.require_author(arguments.who, arguments.why)
    subject = _subject(arguments)
    words = f"{arguments.who} {arguments.why}"
    if subject.is_in_text(words) or subject.name in words:
        raise UserError("--who and --why stay on record: they must not name what is to go")
    with server_address():  # the embedded server starts once for all looks
        if not arguments.yes:
            _announce(erasing.find(subject))
            print("nothing was removed: the same command with --yes does it")
            return 0
        erasure = erasing.erase(subject, arguments.who, arguments.why, _announce)
    print("removed; where it may still be, and who can remove it there:")
    for location in erasing.elsewhere(subject):
        print(f"  {location}")
    _print_leftovers(erasure.leftovers)
    print(f"on record in {RECORD}: git add {RECORD} && git commit")
    return 1 if erasure.leftovers else 0


def _demand_owner(state: Path) -> None:
    """Files that root rewrites would be root's: the clone's own user could not read them."""
    if state.exists() and state.stat().st_uid != os.geteuid():
        raise UserError(f"{state} is another user's: run this as that user")


def _subject(arguments: argparse.Namespace) -> Subject:
    kinds: tuple[Kind, ...] = ("document", "person", "tenant")
    for kind in kinds:
        name = getattr(arguments, kind)
        if name is not None:
            return Subject.of(kind, name)
    raise AssertionError("argparse demands one of them")


def _announce(findings: Sequence[Finding]) -> None:
    counts: dict[tuple[str, str], int] = {}
    for finding in findings:
        if finding.remove is not None:
            key = (finding.location, finding.unit)
            counts[key] = counts.get(key, 0) + finding.count
    for (location, unit), count in counts.items():
        print(f"to remove: {location}: {count} {unit}")
    _print_leftovers([finding for finding in findings if finding.remove is None])


def _print_leftovers(findings: Sequence[Finding]) -> None:
    for finding in findings:
        number = f"{finding.count} {finding.unit}"
        print(f"LEFT for you: {finding.location}: {number}; {finding.remedy}")
