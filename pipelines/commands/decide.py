"""Record a person's approval or refusal of the candidate in the ledger.

The line holds the digest of what the person saw. `release` obeys the last decision about a
candidate: a refused one is not released before somebody approves it.
"""

import argparse
from pathlib import Path
from typing import Literal

from pipelines import files
from pipelines.contracts.scores import CANDIDATE, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.decision import ledger
from pipelines.errors import UserError

VERDICT = Path("data/reports/verdict.json")
SCORES = Path("data/reports/scores.json")
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
    parser.add_argument("--decision", required=True, choices=["approve", "refuse"])


def run(decision: Literal["approve", "refuse"], who: str, why: str) -> None:
    ledger.require_author(who, why)
    verdict = files.read_json(VERDICT, Verdict)
    scores = files.read_json(SCORES, Scores)
    if scores.candidate != verdict.candidate:
        raise UserError(f"{SCORES} and {VERDICT} are about different candidates: `dvc repro gate`")
    event = ledger.Event(
        kind="approved" if decision == "approve" else "refused",
        step="approval",
        release_id=None,
        candidate=verdict.candidate,
        who=who,
        why=why,
        when=ledger.now(),
        scores=scores.values(CANDIDATE),
        seen=ledger.file_digests(EVIDENCE),
        champion=None,
    )
    commit = ledger.append(event)
    print(
        f"{event.kind}: candidate {verdict.candidate[:12]} by {who} "
        f"(ledger, commit {commit[:12]} on branch {ledger.BRANCH})"
    )
