"""`python -m pipelines release`: make the exported candidate the champion, on record."""

import shutil
import subprocess
import sys
from pathlib import Path

from pipelines import champions, files, ledger
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import CANDIDATE, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.errors import Refusal, UserError

TRITON, FOLDER, CHAMPION = Path("models/triton"), Path("models/champion"), Path("models/champion.json")
VERDICT, SCORES = Path("data/reports/verdict.json"), Path("data/reports/scores.json")


def run(who: str, why: str) -> None:
    """Obey verdict and decision, copy the exported repository to models/champion, add a line to the ledger. Repeatable after a kill."""
    if not who.strip() or not why.strip():
        raise UserError("--who and --why must say something: the ledger is read by others")
    record, verdict, measured = files.read_json(TRITON / "release.json", ReleaseRecord), files.read_json(VERDICT, Verdict), files.read_json(SCORES, Scores)
    obey(record, verdict)
    live = ledger.champion()
    if live and live.release_id == record.release_id:
        files.write_json(CHAMPION, ChampionFile(champion=live))
        champions.verified(CHAMPION)
        print(f"{record.release_id} is the champion already")
        return
    _copy(record)
    event = _event("released", record, measured, who, why)
    made = Champion(
        release_id=record.release_id, who=who, why=why, when=event.when, num_documents=record.num_documents, candidate=record.adapter, model_digest=files.digest(FOLDER), folder=str(FOLDER),
        model=f"generator/{record.version}/weights", prompt=f"generator/{record.version}/prompt.yaml", scores=event.scores,
    )  # fmt: skip
    files.write_json(CHAMPION, ChampionFile(champion=made))
    for override in verdict.overrides:
        ledger.append(_event("overridden", record, measured, override.who, f"{', '.join(override.rules)} until {override.until}: {override.why}"))
    ledger.append(event.model_copy(update={"champion": made}), whole_release=True)
    print(f"{record.release_id} is the champion (branch {ledger.BRANCH}, tag release/{record.release_id})")
    print(f"Share it: git add {CHAMPION} {FOLDER}.dvc models/.gitignore && git commit; git push origin {ledger.BRANCH} --tags; dvc push")


def obey(record: ReleaseRecord, verdict: Verdict) -> None:
    """Raise Refusal unless the gate accepted this candidate and the last person who decided about it did not refuse it."""
    if not verdict.accepted or verdict.candidate != record.adapter:
        raise Refusal(f"refused: {TRITON} holds candidate {record.adapter[:12]}; the verdict is about {verdict.candidate[:12]} and says: {verdict.reason}\nRun `make run` first")
    decisions = [event for event in ledger.read() if event.step == "approval" and event.candidate == record.adapter]
    if decisions and decisions[-1].kind == "refused":
        last = decisions[-1]
        raise Refusal(
            f"refused: {last.who} refused candidate {record.adapter[:12]} at {last.when}: {last.why}\nAnother decision replaces it: `python -m pipelines decide --decision approve --who NAME --why TEXT`"
        )


def _event(kind: str, record: ReleaseRecord, measured: Scores, who: str, why: str) -> ledger.Event:
    shown = ledger.seen([VERDICT, SCORES, TRITON / "release.json"])
    return ledger.Event.model_validate({
        "kind": kind, "step": "release" if kind == "released" else "gate", "release_id": record.release_id, "candidate": record.adapter, "who": who, "why": why, "when": ledger.now(),
        "scores": measured.values(CANDIDATE), "seen": shown, "champion": None,
    })  # fmt: skip


def _copy(record: ReleaseRecord) -> None:
    """The exported repository into models/champion, and into DVC's cache."""
    weights = TRITON / "generator" / str(record.version) / "weights"
    if not weights.is_dir() or files.digest(weights) != record.model:
        raise UserError(f"{TRITON} is not what its release.json says: `dvc checkout {TRITON}` or `dvc repro export` mends it")
    with files.replacing(FOLDER) as target:
        shutil.copytree(TRITON, target)
    added = subprocess.run([sys.executable, "-m", "dvc", "add", "-q", str(FOLDER)], capture_output=True, text=True)
    if added.returncode:
        raise UserError(f"DVC could not add {FOLDER}: {added.stderr.strip()}")
