"""What a person sees before they release a candidate, the record of what they decided, and the release that follows."""

from pathlib import Path

from pipelines import champions, files, ledger
from pipelines.checkouts import tree
from pipelines.checkouts.git import git
from pipelines.checkouts.inheritance import CHAMPION, LEDGER_BRANCH
from pipelines.contracts.answers import ANSWERS
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import CANDIDATE, Interval, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.errors import Refusal

BRIEF = "data/reports/approval_brief.md"
METRICS = ("exact_match", "token_f1", "groundedness", "refusal_recall", "false_refusal", "hit_at_5")
NUM_WORST = 8


def brief(folder: Path) -> str | None:
    """Markdown about the exported candidate: scores against the champion, the verdict's reason, the worst answers. None where it is the champion already."""
    record = files.read_json(folder / "models/triton/release.json", ReleaseRecord)
    live = champions.read(folder / "models/champion.json")
    if live and live.release_id == record.release_id:
        return None
    verdict, scores = files.read_json(folder / "data/reports/verdict.json", Verdict), files.read_json(folder / "data/reports/scores.json", Scores)
    against = f"the champion `{live.release_id}` ({live.who}: {live.why})" if live else "no champion yet: this would be the first"
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


def decide(run: tree.Run, who: str, approved: bool, why: str) -> None:
    """Put a decision into the ledger, by the checkout's own command: who, when, why, and the digests of what they saw."""
    with tree.entered(run) as folder:
        tree.fetch(folder, ["data/reports/worst_answers.html"])
        tree.pipelines(folder, "decide", "--decision", "approve" if approved else "refuse", "--who", who, "--why", why)
    _share(run)


def release(run: tree.Run) -> bool:
    """Run the release command in the checkout, on the strength of the ledger's approval; False where the candidate is the champion already.

    Raises Refusal without an approval of this candidate, or where another champion was released since it was evaluated.
    """
    with tree.entered(run) as folder:
        tree.fetch(folder, ["models/triton"])
        record = files.read_json(folder / "models/triton/release.json", ReleaseRecord)
        live = ledger.champion()
        if live and live.release_id == record.release_id:
            return False
        held_against = champions.read(folder / "models/champion.json")
        if live != held_against:
            raise Refusal("refused: another run released a champion since this candidate was evaluated. Start the run anew: it will be compared with the new one")
        approval = next((event for event in reversed(ledger.read()) if event.step == "approval" and event.candidate == record.adapter), None)
        if approval is None or approval.kind != "approved":
            raise Refusal(f"refused: candidate {record.adapter[:12]} {'was refused by ' + approval.who + ': ' + approval.why if approval else 'was approved by nobody'}")
        tree.pipelines(folder, "release", "--who", approval.who, "--why", approval.why)
        if tree.default_remote(folder):
            tree.dvc(folder, "push", "--quiet", "models/champion.dvc")
        tree.record(run, CHAMPION, f"Release {record.release_id}")
    _share(run)
    return True


def _share(run: tree.Run) -> None:
    """The ledger's branch and the releases' tags to the other machines."""
    if run.remote:
        git(Path.cwd(), "push", "--quiet", run.remote, LEDGER_BRANCH, "--tags")
