"""`python -m pipelines knowledge`: the collection that the live release reads, and the way back to the one before."""

from pathlib import Path

from pipelines import champions
from pipelines.errors import UserError
from pipelines.serving import live
from pipelines.vectorstore import aliases

CHAMPION = Path("models/champion.json")


def run(back: bool) -> None:
    """Show it; with `back`, move it in one call to what it was before `refresh` (and, called again, forward)."""
    released = champions.read(CHAMPION)
    if released is None:
        raise UserError("there is no release yet, so nothing reads an index: `python -m pipelines release` makes one")
    alias = live.alias(released.release_id)
    if back:
        now, _ = aliases.back(alias)
        aliases.point(live.KNOWLEDGE, now)
    now_named, before = aliases.state(alias)
    print(f"{released.release_id} reads {now_named or 'nothing yet (serve or refresh points it)'}; before: {before or 'nothing'}")
