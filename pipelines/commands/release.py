"""`python -m pipelines release`: prove the exported candidate, let it take over from the live release step by step, put it on record."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines import champions, files, ledger
from pipelines.commands import champion
from pipelines.config import params
from pipelines.config.params import Params
from pipelines.contracts.answers import ANSWERS
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import Report
from pipelines.contracts.scores import CANDIDATE, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.errors import Refusal, UserError
from pipelines.serving import canary, client, live, proof
from pipelines.serving.server import Triton
from pipelines.vectorstore import aliases, collections
from pipelines.vectorstore import server as weaviate

TRITON, FOLDER, CHAMPION = Path("models/triton"), Path("models/champion"), Path("models/champion.json")
VERDICT, SCORES, ANSWERED = Path("data/reports/verdict.json"), Path("data/reports/scores.json"), Path("data/answers.parquet")
INDEX, CHUNKS, VECTORS = Path("data/index.json"), Path("data/chunks.parquet"), Path("data/vectors.parquet")


def run(who: str, why: str) -> None:
    """Obey verdict and decision, prove, switch, record. Raises Refusal with the reason; the old release then keeps answering. Repeatable after a kill."""
    if not who.strip() or not why.strip():
        raise UserError("--who and --why must say something: the ledger is read by others")
    values = params.load()
    record, verdict, measured = files.read_json(TRITON / "release.json", ReleaseRecord), files.read_json(VERDICT, Verdict), files.read_json(SCORES, Scores)
    before = ledger.champion()
    if before and before.release_id == record.release_id:
        files.write_json(CHAMPION, ChampionFile(champion=before))
        champions.verified(CHAMPION)
        settle(values, live.running(), record.release_id, None)  # a kill may have come between the record and this
        print(f"{record.release_id} is the champion already")
        return
    event = _event("released", "release", record, measured, who, why)
    with refusals_on_record(event):
        obey(record, verdict)
        _whole(record)
        _prove(values, record)
        triton = live.running()
        if triton:
            take_over(values, triton, record.release_id, before.release_id if before else None)
    made = _keep(record, event)
    for override in verdict.overrides:
        ledger.append(_event("overridden", "gate", record, measured, override.who, f"{', '.join(override.rules)} until {override.until}: {override.why}"))
    ledger.append(event.model_copy(update={"champion": made}), whole_release=True)
    settle(values, triton, record.release_id, before.release_id if before else None)
    print(f"{record.release_id} is the champion (branch {ledger.BRANCH}, tag release/{record.release_id})" + ("" if triton else "; no server is live: `make serve` serves it"))
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


@contextmanager
def refusals_on_record(event: ledger.Event) -> Iterator[None]:
    """A refusal of the block goes into the ledger, with its reason, before it goes on."""
    try:
        yield
    except Refusal as refusal:
        step, kind = getattr(refusal, "step", "release"), getattr(refusal, "kind", "refused")
        ledger.append(event.model_copy(update={"kind": kind, "step": step, "why": str(refusal)}))
        raise


def refuse(step: str, report: Report, what: str, kind: str = "refused") -> None:
    """Raise Refusal for a report that did not pass; `step` and `kind` are for the ledger."""
    try:
        report.demand(what, "The old release keeps answering.")
    except Refusal as refusal:
        refusal.step, refusal.kind = step, kind  # type: ignore[attr-defined]
        raise


def _prove(values: Params, record: ReleaseRecord) -> None:
    """A fresh server loads exactly this release and answers as evaluate measured."""
    rows = [row for row in files.read(ANSWERED, ANSWERS) if row["system"] == CANDIDATE]
    print(f"proving {record.release_id} on a fresh Triton ...", flush=True)
    with weaviate.addressed() as environment, collections.opened(files.read_json(INDEX, Receipt), CHUNKS, VECTORS):
        report = proof.prove(TRITON, record, rows, values.proof, environment, live.folder() / "proof.log")
    refuse("infra validation", report, "the proof on a fresh server")
    print(f"proof: {report.reason}; {report.checks[-2].observed} answers and {report.checks[-1].observed} citations equal evaluate's")


def take_over(values: Params, triton: Triton, new: str, old: str | None) -> None:
    """Load the new release beside the old and move the requests; on any refusal the old one has everything back and the new one is gone."""
    live.install(TRITON, new)
    aliases.point(live.alias(new), files.read_json(INDEX, Receipt).collection)
    print(f"loading {new} beside {old or 'nothing'} ...", flush=True)
    try:
        live.load(triton, new)
    except (UserError, OSError) as error:
        refuse("canary", Report.of([canary.failed("the live server loads it", str(error))]), "the release")
    if old is None:
        live.set_routes([(new, 1.0)], canary_pid=os.getpid())
        return
    report = canary.switch(values.canary, triton, new, old, client.traffic_folder())
    if not report.passed:
        live.unload(triton, new)
        refuse("canary", report, "the release on live traffic", "rolled_back")


def settle(values: Params, triton: Triton | None, new: str, old: str | None) -> None:
    """After the record: the routes are the new release's for good, Weaviate's alias follows, what is too old goes."""
    if triton:
        live.set_routes([(new, 1.0)])
        aliases.point(live.KNOWLEDGE, champion.knowledge(new).collection)
    for gone in live.tidy(triton, values.serve, [release for release in (new, old) if release]):
        aliases.remove(live.alias(gone))


def _event(kind: str, step: str, record: ReleaseRecord, measured: Scores, who: str, why: str) -> ledger.Event:
    shown = ledger.seen([VERDICT, SCORES, TRITON / "release.json"])
    return ledger.Event.model_validate({
        "kind": kind, "step": step, "release_id": record.release_id, "candidate": record.adapter, "who": who, "why": why, "when": ledger.now(),
        "scores": measured.values(CANDIDATE), "seen": shown, "champion": None,
    })  # fmt: skip


def _whole(record: ReleaseRecord) -> None:
    weights = TRITON / "generator" / str(record.version) / "weights"
    if not weights.is_dir() or files.digest(weights) != record.model:
        raise UserError(f"{TRITON} is not what its release.json says: `dvc checkout {TRITON}` or `dvc repro export` mends it")


def _keep(record: ReleaseRecord, event: ledger.Event) -> Champion:
    """The exported repository into models/champion and DVC's cache, and its name into models/champion.json."""
    with files.replacing(FOLDER) as target:
        shutil.copytree(TRITON, target)
    added = subprocess.run([sys.executable, "-m", "dvc", "add", "-q", str(FOLDER)], capture_output=True, text=True)
    if added.returncode:
        raise UserError(f"DVC could not add {FOLDER}: {(added.stderr or added.stdout).strip() or f'`dvc add -v {FOLDER}` says why'}")
    made = Champion(
        release_id=record.release_id, who=event.who, why=event.why, when=event.when, num_documents=record.num_documents, candidate=record.adapter, model_digest=files.digest(FOLDER), folder=str(FOLDER),
        model=f"generator/{record.version}/weights", prompt=f"generator/{record.version}/prompt.yaml", scores=event.scores,
    )  # fmt: skip
    files.write_json(CHAMPION, ChampionFile(champion=made))
    return made
