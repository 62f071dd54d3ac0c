"""What a person sees before they release a candidate, the record of what they decided, and the release that follows."""

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipelines import files, ledger
from pipelines.checkouts import tree
from pipelines.checkouts.git import git, show
from pipelines.checkouts.inheritance import CHAMPION, LEDGER, RELEASED
from pipelines.contracts.answers import ANSWERS
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import CANDIDATE, Interval, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.errors import TRY_AGAIN, Refusal, Unreachable, UserError

BRIEF, DECISION = "data/reports/approval_brief.md", "data/reports/approval.json"
METRICS = ("exact_match", "token_f1", "groundedness", "refusal_recall", "false_refusal", "hit_at_5")
NUM_WORST = 8


class Decision(BaseModel):
    """approval.json. `seen_sha256` is the digest of the text that was shown (approval_brief.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    approved: bool
    who: str
    why: str
    mode: Literal["human", "auto"]
    when: str  # ISO 8601 with zone
    seen: str
    seen_sha256: str


def brief(folder: Path) -> str | None:
    """Markdown about the exported candidate: scores against the champion, the verdict's reason, the worst answers. None where it is the champion already."""
    record = files.read_json(folder / "models/triton/release.json", ReleaseRecord)
    released = ledger.read(folder / LEDGER)
    if released and released[-1].release_id == record.release_id:
        return None
    verdict, scores = files.read_json(folder / "data/reports/verdict.json", Verdict), files.read_json(folder / "data/reports/scores.json", Scores)
    against = f"the champion `{released[-1].release_id}` ({released[-1].who}: {released[-1].why})" if released else "no champion yet: this would be the first"
    size = f"{scores.num_questions} golden questions, {record.num_documents} documents, collection `{record.collection}`"
    head = [f"## Release `{record.release_id}`?", "", f"**Gate:** {verdict.reason}", "", f"Compared with {against}. {size}.", ""]
    worst = ["", f"### The {NUM_WORST} worst answers", "", *_worst(folder / "data/answers.parquet"), "", "All answers are in `worst_answers.html` on the run's Reports page."]
    text = "\n".join([*head, *_table(scores), *worst])
    files.write_text(folder / BRIEF, text + "\n")
    return text


def _table(scores: Scores) -> list[str]:
    systems = list(scores.systems)
    lines = ["| metric (mean [95 %]) | " + " | ".join(systems) + " |", "|---" * (len(systems) + 1) + "|"]
    return lines + [f"| {name} | " + " | ".join(_shown(scores.systems[system].metrics[name]) for system in systems) + " |" for name in METRICS]


def _shown(met: Interval) -> str:
    return "-" if met.value is None or met.low is None or met.high is None else f"{met.value:.3f} [{met.low:.3f}, {met.high:.3f}]"


def _worst(answers: Path) -> list[str]:
    own = sorted((row for row in files.read(answers, ANSWERS) if row["system"] == CANDIDATE), key=lambda row: (row["exact_match"], row["token_f1"], row["id"]))
    lines = ["| question | answer | expected |", "|---|---|---|"]
    return lines + [f"| {_cell(row['question'])} | {_cell(row['answer'] or '(empty)')} | {_cell(row['expected'])} |" for row in own[:NUM_WORST]]


def _cell(text: str) -> str:
    """One line of a table; what a document or a question holds cannot become markup or a link."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_{}[]<>()#!|" else sign for sign in " ".join(text.split()))
    return escaped if len(escaped) <= 240 else escaped[:240].rstrip("\\") + " ..."


def decide(run: tree.Run, who: str, approved: bool, why: str, mode: Literal["human", "auto"]) -> None:
    """Record a decision on the run's branch: who, when, why, and what they saw."""
    word = "approved" if approved else "refused"
    with tree.entered(run) as folder:
        seen = files.text_digest((folder / BRIEF).read_text(encoding="utf-8"))
        release_id = files.read_json(folder / "models/triton/release.json", ReleaseRecord).release_id
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        decision = Decision(release_id=release_id, approved=approved, who=who, why=why, mode=mode, when=now, seen=BRIEF, seen_sha256=seen)
        files.write_json(folder / DECISION, decision)
        tree.record(run, [BRIEF, DECISION], f"{release_id} {word} by {who}")
    print(f"{release_id} {word} by {who}{f': {why}' if why else ''}")


def release(run: tree.Run) -> bool:
    """Run the release command in the checkout, on the strength of the recorded approval; False where the candidate is the champion already.

    Then the branch `releases` is at it. Raises Refusal without an approval of this candidate, or where the champion changed since it was evaluated.
    """
    with tree.entered(run) as folder:
        tree.fetch(folder, ["models/triton"])
        record = files.read_json(folder / "models/triton/release.json", ReleaseRecord)
        released = ledger.read(folder / LEDGER)
        if released and released[-1].release_id == record.release_id:
            return False
        newest = show(Path.cwd(), RELEASED, LEDGER)
        if newest is not None and not (folder / LEDGER).read_text(encoding="utf-8").strip().startswith(newest.strip()):
            raise Refusal("refused: another run released a champion since this candidate was evaluated. Start the run anew: it will be compared with the new one")
        _carry_out(folder, files.read_json(folder / DECISION, Decision), record)
        tree.record(run, list(CHAMPION), f"Release {record.release_id}")
        if tree.default_remote(folder):
            tree.dvc(folder, "push", "--quiet", "models/champion.dvc")
        git(Path.cwd(), "update-ref", f"refs/heads/{RELEASED}", git(folder, "rev-parse", "HEAD"))
        if run.remote:
            git(Path.cwd(), "push", "--quiet", run.remote, f"+{RELEASED}:{RELEASED}")
    print(f"the champion is on branch {RELEASED}: `git merge {RELEASED}` brings it into yours")
    return True


def _carry_out(folder: Path, decision: Decision, record: ReleaseRecord) -> None:
    if not decision.approved or decision.release_id != record.release_id:
        raise Refusal(f"refused: {record.release_id} is not approved; {DECISION} says: {decision.release_id} {'approved' if decision.approved else 'refused'} by {decision.who}")
    command = [sys.executable, "-m", "pipelines", "release", "--who", decision.who, "--why", decision.why]
    done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        may_pass = done.returncode == TRY_AGAIN or done.returncode < 0
        raise (Unreachable if may_pass else UserError)(done.stderr.strip() or f"release ended with exit code {done.returncode}")
