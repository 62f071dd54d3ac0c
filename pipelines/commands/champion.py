"""Bring models/champion to the live release.

For a fresh work tree, or after somebody else released. The files come from DVC's cache or remote.
"""

from pipelines.decision import champions, ledger, release_files
from pipelines.decision.release_files import CHAMPION


def run() -> None:
    live = ledger.champion()
    if live is None:
        print(f"no release yet: {CHAMPION} stays as it is")
        return
    release_files.restore(live.release_id)
    champions.read_verified(CHAMPION)
    print(f"{live.release_id} is the champion: {CHAMPION} and {live.folder} are its files")
