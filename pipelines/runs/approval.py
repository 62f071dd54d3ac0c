"""The decision about a candidate, as recorded in the ledger, and the release that follows it."""

from pathlib import Path

from pipelines import files
from pipelines.config import params
from pipelines.config.release import ReleaseConfig
from pipelines.contracts.release import ReleaseRecord
from pipelines.decision import champions, ledger, release_page
from pipelines.errors import Refusal
from pipelines.runs import child_command, data, work_trees
from pipelines.runs.approval_brief import is_new
from pipelines.runs.inheritance import CHAMPION
from pipelines.runs.names import PAGE
from pipelines.runs.work_trees import Run
from pipelines.system import git
from pipelines.system.git import AS_PIPELINE


def decide(run: Run, who: str, decision: str, why: str) -> None:
    """Put a decision (`approve` or `refuse`) into the ledger, by the checkout's own command.

    The ledger holds who, when, why, and the digests of what they saw.
    """
    with work_trees.enter(run) as folder:
        data.fetch(folder, ["data/reports/worst_answers.html"])
        words = ("--decision", decision, "--who", who, "--why", why)
        child_command.run(folder, "decide", *words)
    _share(run)


def require_automatic(run: Run) -> None:
    """Raises Refusal unless the run's own params.yaml says that the gate's acceptance is enough."""
    with work_trees.enter(run) as folder:
        config = params.load(folder / "params.yaml").section(ReleaseConfig)
        if config.approval != "auto":
            raise Refusal(
                f"refused: params.yaml: release.approval: {config.approval} in this run, so a "
                "person decides"
            )


def release(run: Run) -> bool:
    """Release the candidate by the checkout's own command, if the ledger approves it.

    False if the champion is this model already. Raises Refusal if the ledger holds no approval of
    this candidate, or if another champion was released since it was evaluated.
    """
    with work_trees.enter(run) as folder:
        data.fetch(folder, ["models/triton"])
        record = files.read_json(folder / "models/triton/release.json", ReleaseRecord)
        live = ledger.champion()
        if live != champions.read(folder / "models/champion.json"):
            raise Refusal(
                "refused: another run released a champion since this candidate was evaluated. "
                "Start the run anew: it will be compared with the new one"
            )
        if live and not is_new(record, folder / live.folder):
            return False
        approval_event = _approval_of(record.adapter)
        try:
            _release(run, record, approval_event)
        finally:
            _write_pages(run, record.release_id, live.release_id if live else None)
    _share(run)
    return True


def _approval_of(candidate: str) -> ledger.Event:
    """The ledger's newest decision about a candidate. Raises Refusal if it is not an approval."""
    for event in reversed(ledger.read()):
        if event.step == "approval" and event.candidate == candidate:
            if event.kind == "approved":
                return event
            raise Refusal(
                f"refused: candidate {candidate[:12]} was refused by {event.who}: {event.why}"
            )
    raise Refusal(f"refused: nobody has approved candidate {candidate[:12]}")


def _release(run: Run, record: ReleaseRecord, approval: ledger.Event) -> None:
    child_command.run(run.folder, "release", "--who", approval.who, "--why", approval.why)
    if data.default_remote(run.folder):
        data.dvc(run.folder, "push", "--quiet", "models/champion.dvc")
    work_trees.record(run, CHAMPION, f"Release {record.release_id}")


def _write_pages(run: Run, release_id: str, old: str | None) -> None:
    """In this clone, whose gateway shows them, and among the run's reports."""
    release_page.write(release_id, old)
    release_page.write_to(run.folder / PAGE, release_id)
    work_trees.record(run, [PAGE], f"What was seen of {release_id}")


def _share(run: Run) -> None:
    """Push the ledger's branch and the releases' tags to the other machines."""
    if run.remote:
        push = ("push", "--quiet", run.remote, ledger.BRANCH, "--tags")
        git.output(*AS_PIPELINE, *push, folder=Path.cwd())
