"""`python -m pipelines champion`: bring this work tree to the clone's live release (models/champion.json, models/champion)."""

import subprocess
import sys
from pathlib import Path

from pipelines import champions, files, ledger
from pipelines.contracts.champion import ChampionFile
from pipelines.errors import UserError

CHAMPION = Path("models/champion.json")


def run() -> None:
    """For a fresh work tree, or after somebody else released. Files come from DVC's cache or remote."""
    live = ledger.champion()
    if live is None:
        print("no release yet: models/champion.json stays as it is")
        return
    bring(live.release_id)
    champions.verified(CHAMPION)
    print(f"{live.release_id} is the champion: {CHAMPION} and {live.folder} are its files")


def bring(release_id: str) -> None:
    """Put the released model of this id into models/champion and say so in models/champion.json."""
    found = ledger.released(release_id)
    if found is None:
        raise UserError(f"the ledger has no release {release_id}: `python -m pipelines releases` lists them")
    folder = Path(found.folder)
    if not folder.is_dir() or files.digest(folder) != found.model_digest:
        Path(f"{folder}.dvc").write_bytes(ledger.show(f"refs/tags/release/{release_id}", f"{folder}.dvc"))
        for verb in (["checkout", "-q", "--force"], ["pull", "-q", "--force"]):
            done = subprocess.run([sys.executable, "-m", "dvc", *verb, f"{folder}.dvc"], capture_output=True, text=True)
            if done.returncode == 0:
                break
        else:
            raise UserError(f"the files of {release_id} are neither in DVC's cache nor on its remote: {done.stderr.strip()}")
    files.write_json(CHAMPION, ChampionFile(champion=found))
