"""Knows the champion: the released model that stages compare a candidate with (models/champion.json and the folder that it names)."""

from pathlib import Path

from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.errors import UserError
from pipelines.files import digest, read_json


def read(path: Path) -> Champion | None:
    """What the file says, or None before the first release. Raises UserError where it is missing or damaged: never no champion by accident."""
    if not path.exists():
        raise UserError(f"{path} is missing: `git checkout {path}` or `python -m pipelines champion` brings it back")
    return read_json(path, ChampionFile).champion


def verified(path: Path) -> Champion | None:
    """The champion with its files there and unchanged, or None before the first. Raises UserError with the remedy."""
    found = read(path)
    if found is None:
        return None
    folder = Path(found.folder)
    if not folder.is_dir():
        raise UserError(f"the champion {found.release_id} is released, but {folder} is not here: `dvc pull {folder}` (or `dvc checkout {folder}`) brings it")
    if digest(folder) != found.model_digest:
        raise UserError(f"{folder} is not the champion {found.release_id} that {path} names: `dvc checkout --force {folder}` brings it back")
    return found
