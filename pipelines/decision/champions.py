"""Reads the champion: the released model that stages compare a candidate with.

models/champion.json names it and the folder with its files. Stages depend on this module, so it
imports little; bringing a release back from Git and DVC is `release_files`' job.
"""

from pathlib import Path

from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.errors import UserError
from pipelines.files import digest, read_json


def read(path: Path) -> Champion | None:
    """What the file says, or None before the first release.

    Raises UserError if it is missing or damaged: never "no champion" by accident.
    """
    if not path.exists():
        raise UserError(
            f"{path} is missing: `git checkout {path}` or `python -m pipelines champion` "
            "brings it back"
        )
    return read_json(path, ChampionFile).champion


def read_verified(path: Path) -> Champion | None:
    """The champion, once its files are there and unchanged; None before the first release.

    Raises UserError with the remedy.
    """
    champion = read(path)
    if champion is None:
        return None
    folder = Path(champion.folder)
    if not folder.is_dir():
        raise UserError(
            f"the champion {champion.release_id} is released, but {folder} is not here: "
            f"`dvc pull {folder}` (or `dvc checkout {folder}`) brings it"
        )
    if digest(folder) != champion.model_digest:
        raise UserError(
            f"{folder} is not the champion {champion.release_id} that {path} names: "
            f"`dvc checkout --force {folder}` brings it back"
        )
    return champion
