"""Starts and stops an experiment: the release in models/triton beside the live one, for days."""

import time
from dataclasses import dataclass

from pipelines import files, vectorstore
from pipelines.config.experiment import ExperimentConfig
from pipelines.contracts.receipt import Receipt
from pipelines.decision import ledger, release_page, step_results
from pipelines.errors import Refusal, UserError
from pipelines.serving import (
    candidates,
    declarations,
    experiment_findings,
    experiment_record,
    live_routes,
    live_server,
    releasing,
    step_records,
)
from pipelines.serving.candidates import EXPORT, Candidate
from pipelines.serving.experiment_findings import Findings
from pipelines.serving.experiment_record import Experiment
from pipelines.serving.release_comparison import Declaration
from pipelines.serving.triton_connection import Triton

START = "experiment start"  # as the ledger names its steps
STOP = "experiment stop"


@dataclass(frozen=True)
class Config:
    """The sections by which an experiment is made."""

    experiment: ExperimentConfig
    release: releasing.Config


def start(
    config: Config, author: releasing.Author, command_line: Declaration = declarations.NOTHING
) -> Experiment:
    """Prove the candidate, compare it out of sight, and give it its share of the askers.

    Raises Refusal if gate, proof or shadow say no, and UserError without a live server.
    """
    experiment_record.demand_none("a new experiment")
    candidate = Candidate.read()
    champion = ledger.champion()
    triton = live_server.find_running()
    if champion is None or triton is None:
        raise UserError(
            "an experiment needs a live release to compare with and a server that answers with "
            "it: `make run`, `python -m pipelines release --who NAME --why TEXT`, `make serve`"
        )
    if champion.release_id == candidate.release_id:
        raise UserError(
            f"{candidate.release_id} in {EXPORT} is the live release itself: change params.yaml, "
            "a prompt or the documents, `make run`, then start the experiment"
        )
    declaration = declarations.merge(config.release.expected, command_line)
    declarations.check(config.release.canary.limits, declaration)
    experiment = Experiment(
        new=candidate.release_id,
        candidate=candidate.record.adapter,
        old=champion.release_id,
        config=config.experiment,
        canary=config.release.canary,
        latency_ratio=declaration.latency_ratio,
        refused_increase=declaration.refused_increase,
        start=time.time(),
        who=author.who,
        why=author.why,
    )
    step_results.begin(candidate.release_id, candidate.verdict)
    with releasing.refusals_on_record(_event(experiment, author, START, author.why)):
        candidates.obey(candidate)
        candidates.check_export(candidate.record, config.release.export)
        releasing.prove(config.release.proof, candidate.record)
        releases = releasing.Releases(candidate.release_id, champion.release_id)
        pairs = releasing.load_beside(config.release, triton, releases, declaration)
    changes = {"start": time.time(), "export": files.digest(EXPORT)}
    experiment = experiment.model_copy(update=changes)
    text = f"{experiment.config.share:.0%} of the askers, by {experiment.config.metric}"
    ledger.append(_event(experiment, author, START, f"{author.why} ({text})", pairs.shadow))
    experiment_record.write(experiment)
    live_routes.write(experiment.shares)
    return experiment


def stop(config: Config, author: releasing.Author, keep: str) -> Findings:
    """End it and put on record what it has shown; `keep`: `old`, or `new`, which is released.

    Repeatable after a kill. Raises Refusal if a guard rail speaks against keeping the new one.
    """
    experiment = experiment_record.demand()
    findings = experiment_findings.read(experiment)
    if keep == "new":
        _demand_harmless(findings)
        _demand_export(experiment)
    experiment_record.write(experiment.model_copy(update={"keep": keep}))
    is_again = experiment.keep == keep  # the same decision, after a kill
    if not is_again or not _is_stop_on_record(experiment):
        step_results.add(experiment.new, step_records.of_experiment(findings, keep))
        text = f"{author.why} (the {keep} release stays; {findings.describe()})"
        steps = step_results.text(experiment.new)
        ledger.append(_event(experiment, author, STOP, text), steps=steps)
        release_page.write(experiment.new, experiment.old)
    if keep == "new":
        releasing.complete(config.release, Candidate.read(), author, experiment.declaration)
    else:
        _give_back(experiment)
    experiment_record.remove()
    return findings


def _give_back(experiment: Experiment) -> None:
    """The old release answers everything."""
    triton = live_server.find_running()
    if triton is None:
        return
    live_routes.write([(experiment.old, 1.0)])
    live_server.unload(triton, experiment.new)
    vectorstore.remove_alias(live_server.alias(experiment.new))


def _demand_harmless(findings: Findings) -> None:
    """Raises Refusal if the new release was found to do harm."""
    experiment = findings.experiment
    if experiment.harm:
        raise Refusal(
            f"refused: {experiment.new} was taken back by the live server: {experiment.harm}\n"
            "`--keep old` ends the experiment"
        )
    findings.guard_rails.demand(
        f"{experiment.new} in the experiment", "`--keep old` ends the experiment."
    )


def _demand_export(experiment: Experiment) -> None:
    """Raises UserError if models/triton holds another release by now, Refusal if it may not go.

    Its code is that of the start, which this checkout's may have left behind since.
    """
    candidate = Candidate.read()
    if candidate.release_id != experiment.new:
        raise UserError(
            f"{EXPORT} holds {candidate.release_id}, not {experiment.new} of the experiment: check "
            "out the dvc.lock with which it was exported (`git log dvc.lock`), `dvc checkout`, "
            "then stop the experiment again"
        )
    if files.digest(EXPORT) != experiment.export:
        raise Refusal(
            f"refused: {EXPORT} is not the export of {experiment.new} that was proven when the "
            f"experiment began: `dvc checkout {EXPORT}` brings it back; or end the experiment by "
            "`--keep old`, and release the candidate"
        )
    candidates.obey(candidate)


def restore(triton: Triton) -> None:
    """After a restart of the live server: both releases answer again as before.

    If the new one cannot, the old one answers everything and the record says why.
    """
    experiment = experiment_record.read()
    if experiment is None or not experiment.is_under_way:
        return
    try:
        if vectorstore.alias_state(live_server.alias(experiment.new)).current is None:
            receipt = files.read_json(candidates.INDEX, Receipt)
            vectorstore.point_alias(live_server.alias(experiment.new), receipt.collection)
        live_server.load(triton, experiment.new)
    except (UserError, OSError) as error:
        end_by_itself(experiment, f"it could not be loaded after a restart: {error}")
        return
    live_routes.write(experiment.shares)
    share = f"{experiment.config.share:.0%}"
    print(f"the experiment goes on: {experiment.new} answers {share}", flush=True)


def end_by_itself(experiment: Experiment, harm: str) -> None:
    """Give everything back to the old release, at once; `stop` puts it on record."""
    live_routes.write([(experiment.old, 1.0)])
    experiment_record.write(experiment.model_copy(update={"harm": harm}))
    print(
        f"the experiment has ended: {experiment.old} answers everything again: {harm}", flush=True
    )


def _is_stop_on_record(experiment: Experiment) -> bool:
    """Whether a stop was killed after it had written its line."""
    for event in reversed(ledger.read()):
        if event.kind == "compared" and event.release_id == experiment.new:
            return event.step == STOP
    return False


def _event(
    experiment: Experiment, author: releasing.Author, step: str, why: str, shadow: str = ""
) -> ledger.Event:
    return ledger.Event(
        kind="compared",
        step=step,
        release_id=experiment.new,
        candidate=experiment.candidate,
        who=author.who,
        why=why,
        when=ledger.now(),
        scores={},
        seen={},
        champion=None,
        shadow=shadow,
        expected_latency_ratio=experiment.latency_ratio,
        expected_refused_increase=experiment.refused_increase,
    )
