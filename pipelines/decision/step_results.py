"""What the steps of a release saw, kept while it is under way and then in the ledger's commits.

A step adds its result as soon as it has decided, so that a release that was killed leaves what it
knew. The line of the ledger that ends an attempt takes the file along, so it is in every clone that
has the branch.
"""

import datetime
from pathlib import Path

from pipelines import files
from pipelines.contracts.release_steps import ReleaseSteps, StepResult
from pipelines.contracts.verdict import Verdict
from pipelines.decision import ledger
from pipelines.errors import UserError
from pipelines.system import paths

GATE = "gate"


def begin(release_id: str, verdict: Verdict) -> None:
    """A new attempt, of which the gate has decided already."""
    # To the microsecond, since it tells attempts apart.
    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    steps = ReleaseSteps(
        release_id=release_id,
        candidate=verdict.candidate,
        begun=begun,
        steps=[of_gate(verdict, begun)],
    )
    files.write_json(_file(release_id), steps)


def add(release_id: str, result: StepResult) -> None:
    """To the attempt that has begun."""
    steps = files.read_json(_file(release_id), ReleaseSteps)
    changes = {"steps": [*steps.steps, result]}
    files.write_json(_file(release_id), steps.model_copy(update=changes))


def text(release_id: str) -> str:
    """The attempt that has begun, for the ledger's commit."""
    return _file(release_id).read_text(encoding="utf-8")


def attempts(release_id: str) -> list[ReleaseSteps]:
    """All that is known about releasing this candidate, oldest first.

    Those of the ledger's commits, and one that has not come to its end. Raises UserError if a
    commit holds something else.
    """
    by_begin: dict[str, ReleaseSteps] = {}
    for commit, content in ledger.versions_of(ledger.STEPS_FILE):
        try:
            steps = ReleaseSteps.model_validate_json(content)
        except ValueError as error:
            raise UserError(
                f"{ledger.STEPS_FILE} at {commit[:12]} (branch {ledger.BRANCH}) is not what the "
                f"steps of a release have written: {error}"
            ) from error
        if steps.release_id == release_id:
            by_begin.setdefault(steps.begun, steps)  # the first word counts
    file = _file(release_id)
    if file.exists():
        steps = files.read_json(file, ReleaseSteps)
        by_begin.setdefault(steps.begun, steps)
    return [by_begin[begun] for begun in sorted(by_begin)]


def of_gate(verdict: Verdict, when: str) -> StepResult:
    """The gate's verdict as a step; `power` says how often its rules are wrong."""
    return StepResult(
        step=GATE,
        when=when,
        passed=verdict.accepted,
        reason=verdict.reason,
        checks=verdict.rules,
        undecided=verdict.not_judged,
        error_rates=verdict.power,
    )


def _file(release_id: str) -> Path:
    return paths.state_folder() / "release_steps" / f"{release_id}.json"
