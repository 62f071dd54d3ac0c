"""Brings a past release back: model from DVC, receipt from Git, knowledge in Weaviate."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines import files
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.contracts.receipt import Receipt
from pipelines.decision import bill_of_materials, erasures, ledger, model_card
from pipelines.errors import UserError
from pipelines.system import git
from pipelines.vectorstore import index_problem, open_index

CHAMPION = Path("models/champion.json")
RECEIPT = Path("data/index.json")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")
PAPERS = (model_card.FILE, bill_of_materials.FILE)  # what a release says of itself


def find(release_id: str) -> Champion:
    """A release of the ledger. Raises UserError if the ledger has none of that id."""
    release = ledger.find_release(release_id)
    if release is None:
        raise UserError(
            f"the ledger has no release {release_id}: `python -m pipelines releases` lists them"
        )
    return release


def tag(release_id: str) -> str:
    """The Git tag of the commit that holds all files of a release."""
    return f"refs/tags/release/{release_id}"


def papers(release_id: str) -> dict[str, str]:
    """The release's papers by file name; releases from before there were any have none."""
    texts: dict[str, str] = {}
    for name in PAPERS:
        text = git.file_at(tag(release_id), f"{ledger.PAPERS}/{name}")
        if text is not None:
            texts[name] = text
    return texts


def restore(release_id: str) -> Champion:
    """Bring the release's repository into models/champion and name it in models/champion.json.

    Its code may be older than this checkout's: the ledger's digest says that these are the bytes
    that were compared and proven at the release. Raises UserError if they are not.
    """
    release = find(release_id)
    folder = Path(release.folder)
    if not folder.is_dir() or files.digest(folder) != release.model_digest:
        pointer = Path(f"{folder}.dvc")
        pointer.write_text(_text_at(release_id, pointer), encoding="utf-8")
        _fetch(release_id, pointer)
        _demand_digest(release)
    files.write_json(CHAMPION, ChampionFile(champion=release))
    return release


def folder_of(release_id: str) -> Path:
    """The released repository's files: models/champion, restored if it holds another release."""
    return Path(restore(release_id).folder)


def ensure_collection(release_id: str) -> Receipt:
    """The receipt of the release's collection in Weaviate.

    A collection that is gone is built again from that release's files. Raises UserError if that
    would bring back what was erased.
    """
    receipt = Receipt.model_validate_json(_text_at(release_id, RECEIPT))
    if index_problem(receipt) is None:
        return receipt
    if receipt.digest in erasures.partial_contents():
        raise UserError(
            f"passages were erased from the knowledge of {release_id}, and its collection is gone: "
            "to build it from its files would bring them back. Give the release the documents of "
            "today (`python -m pipelines refresh`), or train and release anew (`make run`)"
        )
    if _has_files_of(receipt):
        with open_index(receipt, CHUNKS, VECTORS):
            return receipt
    with tempfile.TemporaryDirectory() as folder:
        chunks = _download(CHUNKS, release_id, Path(folder))
        vectors = _download(VECTORS, release_id, Path(folder))
        with open_index(receipt, chunks, vectors):
            return receipt


def _has_files_of(receipt: Receipt) -> bool:
    """Whether this work tree's chunks and vectors are those of the receipt."""
    if not CHUNKS.exists() or files.digest(CHUNKS) != receipt.chunks_digest:
        return False
    return VECTORS.exists() and files.digest(VECTORS) == receipt.vectors_digest


def _text_at(release_id: str, path: Path) -> str:
    text = git.file_at(tag(release_id), path.as_posix())
    if text is None:
        raise UserError(
            f"the release {release_id} has no {path}: `git fetch --tags` brings the commits of "
            "releases that were made elsewhere"
        )
    return text


def _fetch(release_id: str, pointer: Path) -> None:
    """What a .dvc file points to, from DVC's cache or else from its remote."""
    reason = ""
    for verb in ("checkout", "pull"):
        call = _dvc(verb, "-q", "--force", str(pointer))
        if call.returncode == 0:
            return
        reason = call.stderr.strip()
    raise UserError(
        f"the files of {release_id} are neither in DVC's cache nor on its remote: {reason}"
    )


def _demand_digest(release: Champion) -> None:
    """Raises UserError, with the folder gone, unless it holds what the ledger names."""
    folder = Path(release.folder)
    if folder.is_dir() and files.digest(folder) == release.model_digest:
        return
    shutil.rmtree(folder, ignore_errors=True)
    raise UserError(
        f"what {tag(release.release_id)} names as {folder} is not the release "
        f"{release.release_id} that the ledger names (digest {release.model_digest[:12]}), so it "
        "was removed: `python -m pipelines releases --verify` says whether the tag was moved; the "
        "clone that released it has the files (`dvc push` there)"
    )


def _download(path: Path, release_id: str, folder: Path) -> Path:
    """A file as it was at a release, from DVC's cache or remote."""
    root = git.output("rev-parse", "--show-toplevel")
    target = folder / path.name
    revision = f"release/{release_id}"
    call = _dvc("get", "-q", root, str(path), "--rev", revision, "-o", str(target))
    if call.returncode:
        raise UserError(
            f"{path} of {release_id} is neither in DVC's cache nor on its remote: "
            f"{call.stderr.strip()}"
        )
    return target


def _dvc(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True)
