"""List what was released, refused, approved, overridden and rolled back, newest last."""

import argparse
from pathlib import Path

from pipelines.decision import ledger, ledger_audit, release_page
from pipelines.errors import UserError
from pipelines.serving import declarations
from pipelines.serving.release_comparison import Declaration

ALL = "all"
PAGE_COMMAND = "python -m pipelines releases --page"
MARKS = {
    "approved": "approved",
    "compared": "compared",
    "overridden": "override used",
    "refused": "REFUSED",
    "released": "released",
    "rolled_back": "ROLLED BACK to",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verify",
        action="store_true",
        help="check lines, signatures, tags and remotes, and say what was found",
    )
    parser.add_argument(
        "--protect",
        type=Path,
        metavar="FOLDER",
        help="install the hook in a shared Git repository that refuses to rewind the ledger",
    )
    parser.add_argument(
        "--page",
        nargs="?",
        const=ALL,
        metavar="RELEASE",
        help="write the HTML page of a release, with what every decision about it saw; without an "
        "id, of every release",
    )


def run(verify: bool = False, protect: Path | None = None, page: str | None = None) -> None:
    """A line for each event: when, what, which, who, score, why. The live release is marked."""
    if protect:
        print(f"{ledger_audit.protect(protect)}: a push that rewinds the ledger is refused")
        return
    if verify:
        print("\n".join(ledger_audit.verify()))
        return
    if page:
        _write_pages(page)
        return
    events = ledger.read()
    if not events:
        print(
            "no releases yet: `make run`, then `python -m pipelines release --who YOU --why REASON`"
        )
    live_lines = [number for number, event in enumerate(events) if event.champion]
    for number, event in enumerate(events):
        mark = "   <- live" if number == max(live_lines, default=-1) else ""
        print(_format(event) + mark)
    if events:
        print(f"What every decision saw: `{PAGE_COMMAND} RELEASE`, or {_list_of_pages()}")


def _list_of_pages() -> str:
    path = release_page.FOLDER / release_page.LIST
    return str(path) if path.exists() else f"`{PAGE_COMMAND}` for all"


def _write_pages(release_id: str) -> None:
    paths = release_page.write_all() if release_id == ALL else release_page.write(release_id)
    if not paths:
        name = "release" if release_id == ALL else f"release {release_id}"
        raise UserError(
            f"the ledger knows no {name}: `python -m pipelines releases` lists them; "
            "`git fetch origin releases --tags` brings those of other clones"
        )
    for path in paths:
        print(path)


def _format(event: ledger.Event) -> str:
    subject = event.release_id or f"candidate {(event.candidate or '')[:12]}"
    score = ""
    if "exact_match" in event.scores:
        score = f"exact match {event.scores['exact_match']:.3f}"
    why = " ".join(event.why.split())
    declaration = Declaration(event.expected_latency_ratio, event.expected_refused_increase)
    if declaration != declarations.NOTHING:
        why += f" ({declarations.describe(declaration)}, as declared)"
    if event.undecided:
        why += f" (undecided: {'; '.join(event.undecided)})"
    if event.shadow:
        why += f" (shadow: {event.shadow})"
    columns = f"{MARKS[event.kind]:14} {subject:24} {event.who:12} {score:18}"
    return f"{event.when}  {columns} {event.step}: {why}"
