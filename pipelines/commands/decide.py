"""Record a person's approval or refusal of the candidate in the ledger.

The line holds the digest of what the person saw. `release` obeys the last decision about a
candidate: a refused one is not released before somebody approves it.
"""

import argparse
import datetime
from pathlib import Path
from typing import Literal

from pipelines import files
from pipelines.contracts.scores import CANDIDATE, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.decision import endorsements, gate_overrides, ledger
from pipelines.errors import UserError

VERDICT = Path("data/reports/verdict.json")
SCORES = Path("data/reports/scores.json")
OVERRIDES = Path("data/overrides.yaml")
EVIDENCE = [
    VERDICT,
    SCORES,
    Path("data/reports/validation.json"),
    Path("data/reports/worst_answers.html"),
    Path("data/index.json"),
    Path("data/reports/approval_brief.md"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--who", required=True, help="who decides")
    parser.add_argument("--why", required=True, help="why, in a sentence")
    parser.add_argument(
        "--decision",
        required=True,
        choices=["approve", "refuse", "override"],
        help="override: stand behind the candidate's entries in data/overrides.yaml, which needs "
        "two people if the ledger is signed",
    )


def run(decision: Literal["approve", "refuse", "override"], who: str, why: str) -> None:
    ledger.require_author(who, why)
    verdict = files.read_json(VERDICT, Verdict)
    scores = files.read_json(SCORES, Scores)
    if scores.candidate != verdict.candidate:
        raise UserError(f"{SCORES} and {VERDICT} are about different candidates: `dvc repro gate`")
    seen = ledger.file_digests(EVIDENCE)
    if decision == "override":
        seen[endorsements.SEEN] = _digest_of_overrides(verdict.candidate)
    event = ledger.Event(
        kind="refused" if decision == "refuse" else "approved",
        step=endorsements.STEP if decision == "override" else "approval",
        release_id=None,
        candidate=verdict.candidate,
        who=who,
        why=why,
        when=ledger.now(),
        scores=scores.values(CANDIDATE),
        seen=seen,
        champion=None,
    )
    commit = ledger.append(event)
    print(
        f"{event.kind}: candidate {verdict.candidate[:12]} by {who} "
        f"(ledger, commit {commit[:12]} on branch {ledger.BRANCH})"
    )


def _digest_of_overrides(candidate: str) -> str:
    overrides = gate_overrides.read(OVERRIDES, candidate, datetime.date.today())
    if not overrides:
        raise UserError(
            f"{OVERRIDES} has no entry in force for candidate {candidate[:12]}: add it first, so "
            "that it is clear what you stand behind"
        )
    return endorsements.digest_of(overrides)
