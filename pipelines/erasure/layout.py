"""Where the files of this clone lie, and which of them a command makes again."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from pipelines import graph
from pipelines.decision import erasures
from pipelines.errors import UserError
from pipelines.monitoring import cycle, decisions, window
from pipelines.runs import data
from pipelines.system import git

STATE = Path(".state")
RAW = Path("data/raw")
MODELS = Path("models")
REPORTS = Path("data/reports")
ASIDE = Path("data/aside")
MIRRORS = STATE / "git"
SHADOW = STATE / "serving/shadow.jsonl"
# Folders that are clones themselves, each below one of these, or sets that were put aside.
CLONES = (STATE / "runs", STATE / "demo", ASIDE)
# Of programs and servers: nothing that people wrote or asked, or, as Weaviate's, looked at through
# the program itself.
FOREIGN_NAMES = (".git", ".tools", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")
FOREIGN_FOLDERS = (
    Path(".dvc/tmp"),
    MIRRORS,
    *(STATE / name for name in ("weaviate", "setup", "torch_extensions", "openvino_graphs")),
)
# Other modules of this room look at these.
ELSEWHERE = (window.TRAFFIC, window.WINDOWS)
ELSEWHERE_FILES = (erasures.RECORD, decisions.LEDGER, cycle.DECISION, cycle.TREND_PAGE)
DIRECTORY = ".dir"  # ending of a cache object that lists a folder's files


@dataclass(frozen=True)
class Layout:
    """What the stages write, and where DVC keeps it."""

    outputs: list[Path]  # but models: those hold no text, or belong to a release
    dvc_cache: Path

    @classmethod
    def read(cls) -> "Layout":
        outputs: list[Path] = []
        for stage in graph.read().values():
            outputs += [path for path in map(Path, stage.outs) if not path.is_relative_to(MODELS)]
        folder = Path(data.dvc(Path(), "cache", "dir").strip())
        is_inside = folder.is_relative_to(Path.cwd())
        return cls(outputs, folder.relative_to(Path.cwd()) if is_inside else folder)

    def files(self) -> Iterator[Path]:
        """Every file below the clone and in DVC's cache that may speak of somebody.

        Raises UserError if a folder may not be entered.
        """
        roots = [Path(), self.dvc_cache] if self.dvc_cache.is_absolute() else [Path()]
        walked: set[str] = set()  # links may lead to a folder twice, or around
        for root in roots:
            for folder, folder_names, names in os.walk(root, onerror=_refuse, followlinks=True):
                here = Path(folder)
                if os.path.realpath(folder) in walked:
                    folder_names.clear()
                    continue
                walked.add(os.path.realpath(folder))
                folder_names[:] = [name for name in sorted(folder_names) if _is_ours(here / name)]
                yield from (here / name for name in sorted(names) if _is_plain(here / name))

    def area(self, path: Path) -> str | None:
        """The kind of file that a command makes again; None if it is not such a file."""
        if path.is_relative_to(self.dvc_cache):
            is_needed = self.dvc_cache.is_absolute() or path in self._needed_objects
            return None if is_needed else "DVC's cache"
        clone = clone_of(path)
        if clone is not None:
            inside = path.relative_to(clone)
            is_made = is_below(inside, [*self.outputs, REPORTS])
            return f"results below {clone.parent}" if is_made else None
        for name, folders in self._areas.items():
            if is_below(path, folders) and path.suffix != ".log":
                return name
        return None

    @cached_property
    def _areas(self) -> dict[str, list[Path]]:
        return {
            "reports of runs": [STATE / "run_reports", STATE / "read.html"],
            "answers of the last shadow": [SHADOW],
            "results of stages": self.outputs,
            "reports": [REPORTS],
        }

    @cached_property
    def _needed_objects(self) -> set[Path]:
        """Objects of DVC's cache that `.dvc` files name: documents and releases, no results."""
        digests: set[str] = set()
        for text in _pointers():
            digests.update(_digests_in(text))
        for digest in list(digests):
            listing = self._object(digest)
            if digest.endswith(DIRECTORY) and listing.exists():
                digests.update(entry["md5"] for entry in yaml.safe_load(listing.read_text()))
        return {self._object(digest) for digest in digests if digest}

    def _object(self, digest: str) -> Path:
        return self.dvc_cache / "files/md5" / digest[:2] / digest[2:]


def _pointers() -> Iterator[str]:
    """The texts of all `.dvc` files: of the work tree, and of all commits of branches and tags."""
    options = ("--cached", "--others", "--exclude-standard", "-z")
    for name in git.output("ls-files", *options, "*.dvc").split("\0"):
        if name and Path(name).is_file():
            yield Path(name).read_text(encoding="utf-8")
    for line in git.output("rev-list", "--objects", "--all").splitlines():
        blob, _, name = line.partition(" ")
        if Path(name).suffix == ".dvc":
            yield git.output("cat-file", "blob", blob)


def _digests_in(pointer: str) -> list[str]:
    """The digests that a `.dvc` file names. What DVC cannot read needs no object of its cache."""
    try:
        content = yaml.safe_load(pointer)
    except yaml.YAMLError:
        return []
    outs = content.get("outs") if isinstance(content, dict) else None
    return [str(out["md5"]) for out in outs or [] if isinstance(out, dict) and "md5" in out]


def list_files(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder, sorted; none if there is no folder.

    `Path.glob` takes a folder that may not be entered for an empty one. Raises UserError instead.
    """
    try:
        os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        _refuse(error)
    return sorted(folder.glob(pattern))


def _refuse(error: OSError) -> None:
    raise UserError(
        f"{error.filename} cannot be looked into ({error.strerror}), so nobody knows whom it "
        "speaks of: run the command as the user that owns it"
    ) from error


def clone_of(path: Path) -> Path | None:
    """The checkout, demo or set aside that a file belongs to."""
    for folder in CLONES:
        if path.is_relative_to(folder) and path.parent != folder:
            return folder / path.relative_to(folder).parts[0]
    return None


def is_below(path: Path, folders: "list[Path] | tuple[Path, ...]") -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _is_ours(folder: Path) -> bool:
    """Whether a folder may hold what people wrote or asked."""
    name = folder.name
    if name in FOREIGN_NAMES or name.startswith(".venv"):
        return False
    return folder not in FOREIGN_FOLDERS and folder not in ELSEWHERE


def _is_plain(path: Path) -> bool:
    if path in ELSEWHERE_FILES or path.suffix == ".sqlite":
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:  # removed by its owner meanwhile, or a link to nothing
        return False
