"""`python -m pipelines release`: make the exported candidate the champion, on record."""

import datetime
import shutil
import subprocess
import sys
from pathlib import Path

from pipelines import files, ledger
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import CANDIDATE, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.errors import Refusal, UserError
from pipelines.prompts import FILE as PROMPT_FILE

TRITON, CHAMPION, LEDGER = Path("models/triton"), Path("models/champion"), Path("models/releases.jsonl")
VERDICT, SCORES = Path("data/reports/verdict.json"), Path("data/reports/scores.json")


def run(who: str, why: str) -> None:
    """Copy the exported model to models/champion, let DVC track it, append a line to the ledger. Repeatable after a kill."""
    if not who.strip() or not why.strip():
        raise UserError("--who and --why must say something: the ledger is read by others")
    record = files.read_json(TRITON / "release.json", ReleaseRecord)
    verdict = files.read_json(VERDICT, Verdict)
    if not verdict.accepted or verdict.candidate != record.adapter:
        raise Refusal(f"refused: {TRITON} holds candidate {record.adapter[:12]}; the verdict is about {verdict.candidate[:12]} and says: {verdict.reason}\nRun `make run` first")
    releases = ledger.read(LEDGER)
    if releases and releases[-1].release_id == record.release_id:
        print(f"{record.release_id} is the champion already")
        return
    _copy(record)
    scores = {name: met.value for name, met in files.read_json(SCORES, Scores).systems[CANDIDATE].metrics.items() if met.value is not None}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    ledger.append(LEDGER, ledger.Release(
        release_id=record.release_id, who=who, why=why, when=now, num_documents=record.num_documents, candidate=record.adapter, model_digest=files.digest(CHAMPION), folder=str(CHAMPION), scores=scores,
    ))  # fmt: skip
    print(f"{record.release_id} is the champion. Keep it: git add {LEDGER} {CHAMPION}.dvc models/.gitignore && git commit; dvc push")


def _copy(record: ReleaseRecord) -> None:
    """The merged model and its template into models/champion, and into DVC's cache."""
    weights = next(iter(sorted(TRITON.glob("generator/*/weights"))), None)
    if weights is None or files.digest(weights) != record.model:
        raise UserError(f"{TRITON} is not what its release.json says: `dvc checkout {TRITON}` or `dvc repro export` mends it")
    with files.replacing(CHAMPION) as target:
        shutil.copytree(weights, target / "model")
        shutil.copy(weights.parent / PROMPT_FILE, target / PROMPT_FILE)
        files.write_json(target / "release.json", record)
    added = subprocess.run([sys.executable, "-m", "dvc", "add", "-q", str(CHAMPION)], capture_output=True, text=True)
    if added.returncode:
        raise UserError(f"DVC could not add {CHAMPION}: {added.stderr.strip()}")
