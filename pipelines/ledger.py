"""Knows the releases: an append-only ledger in Git (models/releases.jsonl), one line a release, the last one is the champion.

{"release_id": "r-3f2a9c01b7de", "who": "ada", "why": "first release", "when": "2026-11-21T14:02:11+00:00", "num_documents": 133,
 "model_digest": "...", "candidate": "...", "folder": "models/champion", "scores": {"exact_match": 0.86}}
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.errors import UserError
from pipelines.files import digest, write_text


class Release(BaseModel):
    """One line of the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    who: str
    why: str
    when: str  # ISO 8601 with zone
    num_documents: int
    candidate: str  # digest of the adapter
    model_digest: str  # digest of `folder`
    folder: str  # relative to the repository's root; DVC-tracked
    scores: dict[str, float]


def read(ledger: Path) -> list[Release]:
    """Releases, oldest first. Raises UserError with the line that is wrong."""
    if not ledger.exists():
        raise UserError(f"{ledger} is missing: `git checkout {ledger}` brings it back")
    found = []
    for number, line in enumerate(_lines(ledger), start=1):
        try:
            found.append(Release.model_validate_json(line))
        except ValidationError as error:
            raise UserError(f"{ledger}:{number} is no release: {error}\nThe ledger is only ever appended to: `git checkout {ledger}` brings it back") from error
    return found


def champion(ledger: Path) -> Release | None:
    """The last release with its model verified, or None before the first. Raises UserError where its files are gone or changed."""
    releases = read(ledger)
    if not releases:
        return None
    last = releases[-1]
    if not Path(last.folder).is_dir():
        raise UserError(f"the champion {last.release_id} is released, but {last.folder} is not here: `dvc pull {last.folder}` (or `dvc checkout {last.folder}`) brings it")
    if digest(Path(last.folder)) != last.model_digest:
        raise UserError(f"{last.folder} is not the champion {last.release_id} that {ledger} names: `dvc checkout --force {last.folder}` brings it back")
    return last


def append(ledger: Path, release: Release) -> None:
    """Add one line; the file is replaced whole."""
    write_text(ledger, "".join(f"{line}\n" for line in (*_lines(ledger), release.model_dump_json())))


def _lines(ledger: Path) -> list[str]:
    """Lines that are not blank (a new ledger is one blank line: DVC warns of empty files), without their ends; `splitlines` would also cut where a `why` holds U+2028."""
    with ledger.open(encoding="utf-8") as opened:
        return [line.removesuffix("\n") for line in opened if line.strip()]
