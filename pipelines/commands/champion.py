"""`python -m pipelines champion`: bring this work tree to the clone's live release (models/champion.json, models/champion)."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines import champions, files, ledger
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.vectorstore import collections

CHAMPION = Path("models/champion.json")
RECEIPT, CHUNKS, VECTORS = Path("data/index.json"), Path("data/chunks.parquet"), Path("data/vectors.parquet")


def run() -> None:
    """For a fresh work tree, or after somebody else released. Files come from DVC's cache or remote."""
    live = ledger.champion()
    if live is None:
        print("no release yet: models/champion.json stays as it is")
        return
    bring(live.release_id)
    champions.verified(CHAMPION)
    print(f"{live.release_id} is the champion: {CHAMPION} and {live.folder} are its files")


def found(release_id: str) -> Champion:
    """A release of the ledger. Raises UserError where it has none of that id."""
    known = ledger.released(release_id)
    if known is None:
        raise UserError(f"the ledger has no release {release_id}: `python -m pipelines releases` lists them")
    return known


def bring(release_id: str) -> Champion:
    """Put the released repository of this id into models/champion and say so in models/champion.json."""
    wanted = found(release_id)
    folder = Path(wanted.folder)
    if not folder.is_dir() or files.digest(folder) != wanted.model_digest:
        Path(f"{folder}.dvc").write_bytes(ledger.show(tag(release_id), f"{folder}.dvc"))
        for verb in ("checkout", "pull"):
            done = subprocess.run([sys.executable, "-m", "dvc", verb, "-q", "--force", f"{folder}.dvc"], capture_output=True, text=True)
            if done.returncode == 0:
                break
        else:
            raise UserError(f"the files of {release_id} are neither in DVC's cache nor on its remote: {done.stderr.strip()}")
    files.write_json(CHAMPION, ChampionFile(champion=wanted))
    return wanted


def folder_of(release_id: str) -> Path:
    """The released repository's files: models/champion where it holds them, else brought there."""
    return Path(bring(release_id).folder)


def knowledge(release_id: str) -> Receipt:
    """The release's collection in Weaviate, made again from that release's files where it is gone. Returns its receipt."""
    receipt = Receipt.model_validate_json(ledger.show(tag(release_id), str(RECEIPT)))
    if collections.missing(receipt) is None:
        return receipt
    if CHUNKS.exists() and VECTORS.exists() and (files.digest(CHUNKS), files.digest(VECTORS)) == (receipt.chunks_digest, receipt.vectors_digest):
        with collections.opened(receipt, CHUNKS, VECTORS):
            return receipt
    with tempfile.TemporaryDirectory() as folder, collections.opened(receipt, _fetched(CHUNKS, release_id, Path(folder)), _fetched(VECTORS, release_id, Path(folder))):
        return receipt


def tag(release_id: str) -> str:
    return f"refs/tags/release/{release_id}"


def _fetched(path: Path, release_id: str, folder: Path) -> Path:
    """A file as it was at a release, from DVC's cache or remote."""
    root = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True).stdout.strip()
    done = subprocess.run([sys.executable, "-m", "dvc", "get", "-q", root, str(path), "--rev", f"release/{release_id}", "-o", str(folder / path.name)], capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"{path} of {release_id} is neither in DVC's cache nor on its remote: {done.stderr.strip()}")
    return folder / path.name
