"""The files of this clone: what the pipeline made, what people wrote, caches and logs.

What a command makes again is removed as a whole. Questions, reviews and snapshots lose their lines.
What people wrote, such as a document, stays and is named: only they know what it should say.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import files, graph
from pipelines.config import params
from pipelines.config.examples import ExamplesConfig
from pipelines.config.monitor import MonitorConfig
from pipelines.corpus import snapshots
from pipelines.drafting import drafts
from pipelines.erasure import file_texts, parquet_rows
from pipelines.erasure.finding import Finding
from pipelines.erasure.subject import Subject, json_or_text
from pipelines.errors import UserError
from pipelines.monitoring import cycle, decisions, window
from pipelines.questions import lessons, reviews
from pipelines.runs import data
from pipelines.system import cache, hash_chain, paths

STATE = Path(".state")
RECORD = Path("data/erasures.jsonl")
RAW = Path("data/raw")
CONVERTED = Path("data/converted.parquet")
MODELS = Path("models")
REPORTS = Path("data/reports")
QUESTIONS = (Path("data/qa"), Path("data/golden"), drafts.FOLDER, Path("data/aside"))
LESSONS = (lessons.REVIEWED_FAQ, lessons.REVIEWED_GOLDEN)
CHAINS = (reviews.RECORD, drafts.DECISIONS)
# Of programs and servers: nothing that people wrote or asked, or, as Weaviate's, looked at through
# the program itself.
FOREIGN = (".git", ".tools", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")
FOREIGN_FOLDERS = (
    Path(".dvc/tmp"),
    *(STATE / name for name in ("weaviate", "setup", "torch_extensions", "openvino_graphs")),
)
# Other modules of this room look at these.
ELSEWHERE = (window.TRAFFIC, window.WINDOWS)
ELSEWHERE_FILES = (RECORD, decisions.LEDGER, cycle.DECISION, cycle.TREND_PAGE)


@dataclass(frozen=True)
class Layout:
    """Where stages write, and where DVC keeps what they wrote."""

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
        """Every file below the clone and in DVC's cache that may speak of somebody."""
        roots = [Path()] if not self.dvc_cache.is_absolute() else [Path(), self.dvc_cache]
        for root in roots:
            for folder, folder_names, names in os.walk(root):
                here = Path(folder)
                folder_names[:] = [name for name in sorted(folder_names) if _is_ours(here / name)]
                yield from (here / name for name in sorted(names) if _is_plain(here / name))

    def area(self, path: Path) -> str | None:
        """The kind of file that a command makes again; None if it is not such a file."""
        for folder in (STATE / "runs", STATE / "demo"):
            if path.is_relative_to(folder):
                inside = Path(*path.relative_to(folder).parts[1:])
                is_made = _is_below(inside, [*self.outputs, REPORTS])
                return f"results below {folder}" if is_made else None
        if path.is_relative_to(STATE / "run_reports") or path.parent == STATE:
            return "reports of runs" if path.suffix != ".log" else None
        if path.is_relative_to(self.dvc_cache):
            return "DVC's cache"
        if _is_below(path, self.outputs):
            return "results of stages"
        return "reports" if path.is_relative_to(REPORTS) else None


def find(subject: Subject) -> Iterator[Finding]:
    """Findings in the clone's files, those that only people can remove last.

    Raises UserError if a file that should be readable is not.
    """
    yield from _find_caches()
    if subject.kind == "tenant":
        return
    layout = Layout.read()
    made_files: dict[str, list[Path]] = defaultdict(list)
    lesson_files: list[Path] = []
    authored_files: list[Finding] = []
    for path in layout.files():
        if not _speaks_of(path, subject):
            continue
        area = layout.area(path)
        if area is not None:
            made_files[area].append(path)
        elif path.suffix == ".log":
            yield Finding("logs", 1, "files", partial(_remove_lines, path, subject))
        elif path.parent == snapshots.FOLDER:
            yield from _find_in_snapshot(path, subject)
        elif path in LESSONS:
            lesson_files.append(path)
        elif path in CHAINS or (path.suffix == ".jsonl" and _is_below(path, QUESTIONS)):
            yield from _find_lines(path, subject)
        elif _is_authored(path, subject):
            authored_files.append(_authored_file(path))
    for area, area_paths in made_files.items():
        yield Finding(area, len(area_paths), "files", partial(_unlink, area_paths))
    for path in lesson_files:  # after the reviews that they are made from
        yield Finding(path.as_posix(), 1, "files", _teach_again)
    yield from authored_files
    yield from _find_documents(subject)


def _find_documents(subject: Subject) -> Iterator[Finding]:
    """The document itself; or those, PDFs for example, whose text as `ingest` read it is meant."""
    uris: list[str] = []
    if subject.kind == "document":
        uris.append(subject.name)
    elif CONVERTED.exists():
        for row in pq.read_table(CONVERTED).to_pylist():
            if subject.is_in(row):
                uris.append(row["uri"])
    for uri in uris:
        path = RAW / uri
        if path.is_file():
            yield _authored_file(path)
        elif subject.kind == "person":
            remedy = "edit it at its source, then `python -m pipelines fetch` and `make run`"
            yield Finding(uri, 1, "documents", remedy=remedy)


def _find_caches() -> Iterator[Finding]:
    """Their values do not say what they were made from, so they are emptied as a whole."""
    for name in cache.FILES:
        path = paths.state_folder() / name
        count = cache.count(path)
        if count:
            yield Finding(f"cache .state/{name}", count, "results", partial(cache.clear, path))


def _is_ours(folder: Path) -> bool:
    """Whether a folder may hold what people wrote or asked, for this module to look at."""
    name = folder.name
    if name in FOREIGN or name.startswith(".venv") or folder.is_symlink():
        return False
    return folder not in FOREIGN_FOLDERS and folder not in ELSEWHERE


def _is_plain(path: Path) -> bool:
    if path in ELSEWHERE_FILES or path.suffix == ".sqlite":
        return False
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:  # removed by its owner meanwhile
        return False


def _speaks_of(path: Path, subject: Subject) -> bool:
    try:
        return file_texts.is_readable(path) and file_texts.speaks_of(path, subject)
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{path} cannot be read ({error}), so nobody knows whom it speaks of: look at it, "
            "move it away or give it back its rights, then run the same command again"
        ) from error


def _is_below(path: Path, folders: "list[Path] | tuple[Path, ...]") -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _unlink(file_paths: list[Path]) -> None:
    for path in file_paths:
        path.unlink(missing_ok=True)


def _is_authored(path: Path, subject: Subject) -> bool:
    """Whether people have to look at a file: a link to a document says nothing of what it held."""
    return subject.kind == "person" or path.is_relative_to(lessons.FAQ)


def _authored_file(path: Path) -> Finding:
    if path.is_relative_to(RAW):
        remedy = "edit or remove the document, then `make run`"
    elif path.is_relative_to(STATE / "demo"):
        remedy = "`rm -r .state/demo`: `make demo` makes it anew"
    elif path.is_relative_to(MODELS) or path.is_relative_to(STATE / "serving"):
        remedy = "a release's files: train and release without it"
    else:
        remedy = "edit it"
    return Finding(path.as_posix(), 1, "files", remedy=remedy)


def _remove_lines(path: Path, subject: Subject) -> None:
    """Rewrite a log in place: its writer has it open and goes on at its end.

    If it is named across two lines, none stays.
    """
    with path.open("r+", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line for line in file if not subject.is_in_text(line)]
        file.seek(0)
        if not subject.is_in_text("".join(lines)):
            file.writelines(lines)
        file.truncate()


def _find_lines(path: Path, subject: Subject) -> Iterator[Finding]:
    """A record in JSON lines, one question, draft or review each."""
    lines = path.read_text(encoding="utf-8").split("\n")
    count = sum(subject.is_in(json_or_text(line)) for line in lines)
    remove = _remove_entries if path in CHAINS else _remove_json_lines
    if count:
        yield Finding(path.as_posix(), count, "lines", partial(remove, path, subject))
    else:  # it stands across two lines
        yield _authored_file(path)


def _remove_json_lines(path: Path, subject: Subject) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    other_lines = [line for line in lines if not subject.is_in(json_or_text(line))]
    files.write_text(path, "\n".join(other_lines))


def _remove_entries(path: Path, subject: Subject) -> None:
    hash_chain.rewrite(path, lambda entry: None if subject.is_in(entry) else entry)


def _teach_again() -> None:
    """Make the FAQ topics and golden questions anew from the reviews that are left."""
    values = params.load()
    monitor = values.section(MonitorConfig)
    limits = lessons.Limits.from_config(monitor, values.section(ExamplesConfig))
    lessons.write(lessons.load(limits))


def _find_in_snapshot(path: Path, subject: Subject) -> Iterator[Finding]:
    """A document's row goes; a person stands in documents whose source has to be mended."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    if subject.kind == "person":
        count = sum(subject.is_in(row) for row in rows)
        remedy = f"edit the source {path.stem}, then `python -m pipelines fetch` and `make run`"
        yield Finding(path.as_posix(), count, "documents", remedy=remedy)
        return
    mask = [row["uri"] != subject.name for row in rows]
    if not all(mask):
        remove = partial(parquet_rows.keep, path, mask)
        yield Finding(path.as_posix(), mask.count(False), "documents", remove)
