"""`python -m pipelines accept WINDOW`: a person says that a window is what traffic should look like; the baseline begins anew with it."""

from pipelines.commands import monitor, traffic
from pipelines.commands.traffic import LEDGER
from pipelines.contracts.drift import Acceptance
from pipelines.errors import UserError
from pipelines.monitoring import decision as decisions


def run(window: str, who: str, why: str) -> None:
    """Add a line to the ledger. Raises UserError for a window that was never judged, or could not be."""
    if not who.strip() or not why.strip():
        raise UserError("--who and --why must say something: the ledger is read by others")
    made, _ = decisions.read(LEDGER)
    found = next((decision for decision in reversed(made) if decision.window == window), None)
    if found is None or found.release_id is None or found.outcome == "cannot_tell":
        judged = [decision.window for decision in made if decision.outcome != "cannot_tell"][-5:]
        raise UserError(f"{window} is no window that was judged; the last ones are {', '.join(judged) or 'none: `python -m pipelines monitor` judges'}")
    decisions.append(LEDGER, Acceptance(window=window, release_id=found.release_id, who=who, why=why, when=traffic.now().isoformat(timespec="microseconds")))
    monitor.write_trend(made)
    print(f"{window} is what traffic to {found.release_id} should look like, says {who}")
