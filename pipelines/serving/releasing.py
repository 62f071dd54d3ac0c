"""Releases the exported candidate: prove it, let it take over step by step, put it on record."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipelines import files, vectorstore
from pipelines.config.canary import CanaryConfig
from pipelines.config.export import ExportConfig
from pipelines.config.params import Params
from pipelines.config.proof import ProofConfig
from pipelines.config.release import ExpectedConfig, ReleaseConfig
from pipelines.config.serve import ServeConfig
from pipelines.config.shadow import ShadowConfig
from pipelines.contracts.answers import ANSWERS
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import Report
from pipelines.contracts.scores import CANDIDATE
from pipelines.contracts.verdict import Override
from pipelines.decision import (
    champions,
    ledger,
    model_card,
    release_files,
    release_page,
    signatures,
    step_results,
)
from pipelines.decision.model_card import Decision
from pipelines.errors import Refusal, UserError
from pipelines.questions import reading_set
from pipelines.serving import (
    canary,
    declarations,
    experiment_record,
    live_routes,
    live_server,
    locations,
    proof,
    shadow,
    step_records,
)
from pipelines.serving.candidates import (
    EXPORT,
    INDEX,
    SCORES,
    VERDICT,
    Candidate,
    Step,
    StepRefusal,
    check_export,
    last_decision,
    obey,
)
from pipelines.serving.release_comparison import Declaration
from pipelines.serving.triton_connection import Triton

FOLDER = Path("models/champion")
CHAMPION = Path("models/champion.json")
ANSWERS_FILE = Path("data/answers.parquet")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")


@dataclass(frozen=True)
class Config:
    """The sections of params.yaml by which a release is made."""

    export: ExportConfig
    proof: ProofConfig
    shadow: ShadowConfig
    canary: CanaryConfig
    serve: ServeConfig
    expected: ExpectedConfig  # of the section `release`

    @classmethod
    def of(cls, values: Params) -> "Config":
        return cls(
            export=values.section(ExportConfig),
            proof=values.section(ProofConfig),
            shadow=values.section(ShadowConfig),
            canary=values.section(CanaryConfig),
            serve=values.section(ServeConfig),
            expected=values.section(ReleaseConfig).expected,
        )


class Releases(NamedTuple):
    """A new release, and the live one; None before the first."""

    new: str
    old: str | None


class Takeover(NamedTuple):
    """How a release has taken over.

    `undecided`: what could not be told about it. `shadow`: what the pairs of answers have shown.
    """

    undecided: Sequence[str] = ()
    shadow: str = ""


@dataclass(frozen=True)
class Author:
    """Who releases, and why. Raises UserError if one of them is empty."""

    who: str
    why: str

    def __post_init__(self) -> None:
        ledger.require_author(self.who, self.why)


@dataclass(frozen=True)
class Outcome:
    """What `release` did. `is_served`: a live server answers with the release."""

    release_id: str
    is_new: bool
    is_served: bool


def release(
    config: Config, author: Author, *, command_line: Declaration = declarations.NOTHING
) -> Outcome:
    """Obey verdict and decision, prove, switch, record. Repeatable after a kill.

    `command_line`: what its author declares there, which counts before `release.expected`.
    Raises Refusal with the reason; the old release then keeps answering.
    """
    declaration = declarations.merge(config.expected, command_line)
    declarations.check(config.canary.limits, declaration)
    candidate = Candidate.read()
    champion = ledger.champion()
    if champion and champion.release_id == candidate.release_id:
        return _finish(config, champion)
    experiment_record.demand_none("a release")
    old = champion.release_id if champion else None
    declarations.demand_new(config.expected, command_line, ledger.read())
    event = _event(candidate, author, declaration)
    step_results.begin(candidate.release_id, candidate.verdict)
    with refusals_on_record(event):
        obey(candidate)
        check_export(candidate.record, config.export)
        prove(config.proof, candidate.record)
        triton = live_server.find_running()
        if triton:
            takeover = take_over(config, triton, candidate.release_id, old, declaration)
            changes = {"undecided": list(takeover.undecided), "shadow": takeover.shadow}
            event = event.model_copy(update=changes)
    _complete(config, candidate, event, Releases(candidate.release_id, old))
    return Outcome(candidate.release_id, is_new=True, is_served=triton is not None)


def complete(
    config: Config, candidate: Candidate, author: Author, declaration: Declaration
) -> None:
    """Release a candidate that an experiment has let answer already. Repeatable after a kill."""
    champion = ledger.champion()
    if champion and champion.release_id == candidate.release_id:
        _finish(config, champion)
        return
    old = champion.release_id if champion else None
    event = _event(candidate, author, declaration)
    _complete(config, candidate, event, Releases(candidate.release_id, old))


def _complete(
    config: Config, candidate: Candidate, event: ledger.Event, releases: Releases
) -> None:
    """Keep the release, put it on record, and let it answer everything."""
    champion = keep(candidate.record, event)
    _record(candidate, event, champion)
    settle(config.serve, live_server.find_running(), releases.new, releases.old)
    _write_pages(releases.new, releases.old)


def prove(config: ProofConfig, record: ReleaseRecord) -> None:
    """A fresh server loads exactly this release and answers as evaluate measured, or Refusal."""
    rows = files.read(ANSWERS_FILE, ANSWERS)
    answers = [row for row in rows if _can_be_asked(row)]
    print(f"proving {record.release_id} on a fresh Triton ...", flush=True)
    receipt = files.read_json(INDEX, Receipt)
    with (
        vectorstore.server_address() as environment,
        vectorstore.open_index(receipt, CHUNKS, VECTORS),
    ):
        result = proof.prove(EXPORT, record, answers, config, environment)
    step = step_records.of_proof(result.report, config, len(answers))
    step_results.add(record.release_id, step)
    _demand(result.report, "the proof on a fresh server", Step.PROOF)
    print(
        f"proof: {result.report.reason}; {result.same_answers} answers and "
        f"{result.same_citations} citations equal evaluate's"
    )


def _can_be_asked(row: dict[str, Any]) -> bool:
    """The candidate's; the passages of the reading set are not in the index that is served."""
    return bool(row["system"] == CANDIDATE and row["topic"] != reading_set.TOPIC)


def take_over(
    config: Config,
    triton: Triton,
    new: str,
    old: str | None,
    declaration: Declaration = declarations.NOTHING,
) -> Takeover:
    """Load the new release beside the old one, compare their answers, and move the requests.

    On a refusal the old release has everything back and the new one is gone.
    """
    _load(config, triton, Releases(new, old))
    if old is None:
        live_routes.write([(new, 1.0)], canary_pid=os.getpid())
        return Takeover()
    handover = canary.Handover(new, old, triton, locations.traffic_folder(), declaration)
    pairs = compare_answers(config, handover)
    outcome = canary.switch(config.canary, handover)
    step_results.add(new, step_records.of_canary(outcome, config.canary))
    if not outcome.report.passed:
        live_server.unload(triton, new)
        _demand(outcome.report, "the release on live traffic", Step.CANARY, "rolled_back")
    return Takeover([*pairs.undecided, *outcome.gaps], pairs.shadow)


def load_beside(
    config: Config, triton: Triton, releases: Releases, declaration: Declaration
) -> Takeover:
    """Load a new release beside the live one and compare their answers; it answers nobody yet.

    On a refusal the new release is gone.
    """
    assert releases.old is not None, "there is a live release"
    _load(config, triton, releases)
    traffic = locations.traffic_folder()
    handover = canary.Handover(releases.new, releases.old, triton, traffic, declaration)
    return compare_answers(config, handover)


def _load(config: Config, triton: Triton, releases: Releases) -> None:
    """Install and load the exported release. Raises StepRefusal with the server's message."""
    live_server.install(EXPORT, releases.new)
    receipt = files.read_json(INDEX, Receipt)
    vectorstore.point_alias(live_server.alias(releases.new), receipt.collection)
    print(f"loading {releases.new} beside {releases.old or 'nothing'} ...", flush=True)
    try:
        live_server.load(triton, releases.new)
    except (UserError, OSError) as error:
        report = canary.failure(
            "the live server loads it",
            str(error) or type(error).__name__,
            "loaded beside the old release",
            f"{canary.LOG} says why. If memory is short, lower serve.keep_loaded and restart "
            "`make serve`; then release again",
        )
        outcome = canary.Outcome(report)
        step_results.add(releases.new, step_records.of_canary(outcome, config.canary))
        _demand(report, "the release", Step.CANARY)


def compare_answers(config: Config, handover: canary.Handover) -> Takeover:
    """Ask both releases the same questions, out of sight. On a refusal the new one is gone."""
    settings = config.shadow
    if handover.declaration != declarations.NOTHING:
        text = declarations.describe(handover.declaration)
        print(f"{handover.new} {text}, as declared")
    if settings.replay == 0 and settings.share == 0:
        print("no shadow: shadow.replay and shadow.share are 0")
        return Takeover()
    print(f"asking {handover.old} and {handover.new} the same questions ...", flush=True)
    shadow_config = shadow.Config(settings, config.canary, config.serve.max_seconds)
    try:
        result = shadow.compare(shadow_config, handover, random.SystemRandom())
    except UserError:
        live_server.unload(handover.triton, handover.new)
        raise
    outcome = result.outcome
    numbers = result.comparison.descriptions.describe()
    step_results.add(handover.new, step_records.of_shadow(result, shadow_config))
    if not outcome.report.passed:
        live_server.unload(handover.triton, handover.new)
        _demand(outcome.report, f"the shadow ({numbers})", Step.SHADOW)
    text = "; ".join([numbers, *_observations(outcome.report)])
    print(f"shadow: {text}")
    for gap in outcome.gaps:
        print(f"  undecided: {gap}")
    return Takeover(outcome.gaps, text)


def _observations(report: Report) -> list[str]:
    return [f"{check.name}: {check.observed}" for check in report.checks]


def keep(record: ReleaseRecord, event: ledger.Event) -> Champion:
    """The exported repository in models/champion and DVC's cache; models/champion.json names it.

    Its model card says there who decided.
    """
    with files.replacing(FOLDER) as target:
        shutil.copytree(EXPORT, target)
        card = (target / model_card.FILE).read_text(encoding="utf-8")
        files.write_text(target / model_card.FILE, _complete_card(card, event))
    _add_to_dvc(FOLDER)
    version = f"generator/{record.version}"
    champion = Champion(
        release_id=record.release_id,
        who=event.who,
        why=event.why,
        when=event.when,
        num_documents=record.num_documents,
        candidate=record.adapter,
        model_digest=files.digest(FOLDER),
        folder=str(FOLDER),
        model=f"{version}/weights",
        prompt=f"{version}/prompt.yaml",
        scores=event.scores,
    )
    files.write_json(CHAMPION, ChampionFile(champion=champion))
    return champion


def settle(config: ServeConfig, triton: Triton | None, new: str, old: str | None) -> None:
    """After the record: the routes are the new release's for good, and what is too old goes.

    Weaviate's alias for other programs follows.
    """
    if triton:
        live_routes.write([(new, 1.0)])
        receipt = release_files.ensure_collection(new)
        vectorstore.point_alias(live_server.KNOWLEDGE, receipt.collection)
    exempt = [release for release in (new, old) if release]
    for release_id in live_server.remove_old_releases(triton, config, exempt):
        vectorstore.remove_alias(live_server.alias(release_id))


@contextmanager
def refusals_on_record(event: ledger.Event) -> Iterator[None]:
    """A refusal in the block goes into the ledger, with its reason, before it goes on."""
    try:
        yield
    except Refusal as refusal:
        decision = {"kind": "refused", "step": Step.RELEASE.value, "why": str(refusal)}
        if isinstance(refusal, StepRefusal):
            decision |= {"kind": refusal.kind, "step": refusal.step.value}
        steps = step_results.text(str(event.release_id))
        ledger.append(event.model_copy(update=decision), steps=steps)
        _write_pages(event.release_id)
        raise


def _write_pages(*release_ids: str | None) -> None:
    """What was seen of the first one; the others' standing has changed."""
    for path in release_page.write(*release_ids)[:1]:
        print(f"what every decision saw: {path}")


def _finish(config: Config, champion: Champion) -> Outcome:
    """A kill may have come between the record and what follows it."""
    files.write_json(CHAMPION, ChampionFile(champion=champion))
    champions.read_verified(CHAMPION)
    triton = live_server.find_running()
    settle(config.serve, triton, champion.release_id, None)
    _write_pages(champion.release_id)
    return Outcome(champion.release_id, is_new=False, is_served=triton is not None)


def _record(candidate: Candidate, event: ledger.Event, champion: Champion) -> None:
    """The overrides that the gate obeyed, then the release with all its files."""
    for override in candidate.verdict.overrides:
        ledger.append(_override_event(event, override))
    release_event = event.model_copy(update={"champion": champion})
    steps = step_results.text(candidate.release_id)
    papers: dict[str, str] = {}
    for name in release_files.PAPERS:
        papers[name] = (FOLDER / name).read_text(encoding="utf-8")
    ledger.append(release_event, whole_release=True, steps=steps, papers=papers)


def _complete_card(card: str, event: ledger.Event) -> str:
    decisions = [Decision("Released", event.who, event.when, event.why)]
    approval = last_decision(str(event.candidate))
    if approval is not None and approval.kind == "approved":
        decisions.insert(0, Decision("Approved", approval.who, approval.when, approval.why))
    return model_card.add_release(card, decisions, event.undecided)


def _event(candidate: Candidate, author: Author, declaration: Declaration) -> ledger.Event:
    return ledger.Event(
        kind="released",
        step=Step.RELEASE.value,
        release_id=candidate.release_id,
        candidate=candidate.record.adapter,
        who=author.who,
        why=author.why,
        when=ledger.now(),
        scores=candidate.scores.values(CANDIDATE),
        seen=ledger.file_digests([VERDICT, SCORES, EXPORT / "release.json"]),
        champion=None,
        expected_latency_ratio=declaration.latency_ratio,
        expected_refused_increase=declaration.refused_increase,
    )


def _override_event(event: ledger.Event, override: Override) -> ledger.Event:
    rules = ", ".join(override.rules)
    author = override.who
    if signatures.signers():
        # Two people signed for it; this line is signed by the person who releases.
        author, rules = event.who, f"{rules}, as {override.who} wrote,"
    changes: dict[str, Any] = {
        "kind": "overridden",
        "step": Step.GATE.value,
        "who": author,
        "why": f"{rules} until {override.until}: {override.why}",
        "when": ledger.now(),
        "expected_latency_ratio": None,
        "expected_refused_increase": None,
        "undecided": [],
        "shadow": "",
    }
    return event.model_copy(update=changes)


def _demand(
    report: Report,
    subject: str,
    step: Step,
    kind: Literal["refused", "rolled_back"] = "refused",
) -> None:
    """Raises StepRefusal for a report that did not pass."""
    try:
        report.demand(subject, "What answers now keeps answering.")
    except Refusal as refusal:
        raise StepRefusal(str(refusal), step, kind) from refusal


def _add_to_dvc(folder: Path) -> None:
    command = [sys.executable, "-m", "dvc", "add", "-q", str(folder)]
    call = subprocess.run(command, capture_output=True, text=True)
    if call.returncode:
        reason = (call.stderr or call.stdout).strip() or f"`dvc add -v {folder}` says why"
        raise UserError(f"DVC could not add {folder}: {reason}")
