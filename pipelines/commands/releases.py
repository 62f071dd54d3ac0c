"""List what was released, refused, approved, overridden and rolled back, newest last."""

import argparse
from pathlib import Path

from pipelines.decision import ledger, ledger_audit
from pipelines.serving import declarations
from pipelines.serving.release_comparison import Declaration

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


def run(verify: bool = False, protect: Path | None = None) -> None:
    """A line for each event: when, what, which, who, score, why. The live release is marked."""
    if protect:
        print(f"{ledger_audit.protect(protect)}: a push that rewinds the ledger is refused")
        return
    if verify:
        print("\n".join(ledger_audit.verify()))
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
