"""Two people stand behind an override of the gate, if the ledger is signed."""

import hashlib
import json
from collections.abc import Sequence

from pipelines.contracts.verdict import Override
from pipelines.decision import ledger, signatures

STEP = "override"  # of an event by which a person stands behind the overrides of a candidate
SEEN = "overrides"  # key of what they saw
NUM_PEOPLE = 2


def digest_of(overrides: Sequence[Override]) -> str:
    """sha256 of the overrides in force for a candidate: what a person stands behind."""
    content = [override.model_dump(mode="json") for override in overrides]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def people_behind(overrides: Sequence[Override], candidate: str) -> list[str]:
    """Who signed for exactly these overrides of the candidate."""
    digest = digest_of(overrides)
    people: set[str] = set()
    for event in ledger.read():
        is_meant = event.step == STEP and event.candidate == candidate
        if is_meant and event.kind == "approved" and event.seen.get(SEEN) == digest:
            people.add(event.who)
    return sorted(people)


def in_force(overrides: list[Override], candidate: str) -> tuple[list[Override], str | None]:
    """The overrides that the gate obeys, and why it does not obey those that it was given.

    Without signatures one person is enough, since nobody could tell two from one.
    """
    if not overrides or signatures.signers() is None:
        return overrides, None
    people = people_behind(overrides, candidate)
    if len(people) >= NUM_PEOPLE:
        return overrides, None
    names = ", ".join(people) or "nobody"
    return [], (
        f"the overrides of candidate {candidate[:12]} are not obeyed: they need {NUM_PEOPLE} "
        f"people, and have {names}. Each of them: `python -m pipelines decide --decision override "
        "--who NAME --why TEXT`; then `dvc repro --force --single-item gate`"
    )
