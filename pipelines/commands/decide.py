"""`python -m pipelines decide`: put a person's decision about the candidate into the ledger, with the digest of what was seen."""

from pathlib import Path

from pipelines import files, ledger
from pipelines.contracts.scores import CANDIDATE, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.errors import UserError

VERDICT, SCORES = Path("data/reports/verdict.json"), Path("data/reports/scores.json")
SHOWN = [VERDICT, SCORES, Path("data/reports/validation.json"), Path("data/reports/worst_answers.html"), Path("data/index.json"), Path("data/reports/approval_brief.md")]
KINDS = {"approve": "approved", "refuse": "refused"}


def run(decision: str, who: str, why: str) -> None:
    """`release` obeys the last decision about a candidate: one that was refused is not released before somebody approves it."""
    if not who.strip() or not why.strip():
        raise UserError("--who and --why must say something: the ledger is read by others")
    verdict = files.read_json(VERDICT, Verdict)
    measured = files.read_json(SCORES, Scores)
    if measured.candidate != verdict.candidate:
        raise UserError(f"{SCORES} and {VERDICT} are about different candidates: `dvc repro gate`")
    event = ledger.Event.model_validate({
        "kind": KINDS[decision], "step": "approval", "release_id": None, "candidate": verdict.candidate, "who": who, "why": why, "when": ledger.now(),
        "scores": measured.values(CANDIDATE), "seen": ledger.seen(SHOWN), "champion": None,
    })  # fmt: skip
    commit = ledger.append(event)
    print(f"{event.kind}: candidate {verdict.candidate[:12]} by {who} (ledger, commit {commit[:12]} on branch {ledger.BRANCH})")
