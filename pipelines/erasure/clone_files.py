"""The files of this clone: what the pipeline made, what people wrote, caches and logs.

What a command makes again is removed as a whole. Questions, reviews and snapshots lose their lines.
What people wrote, such as a document, stays and is named: only they know what it should say.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus import snapshots
from pipelines.erasure import documents, file_texts, parquet_rows, records, traffic
from pipelines.erasure.finding import Finding
from pipelines.erasure.layout import (
    ASIDE,
    MIRRORS,
    MODELS,
    RAW,
    SHADOW,
    STATE,
    Layout,
    clone_of,
    is_below,
)
from pipelines.erasure.subject import Subject, json_or_text
from pipelines.errors import UserError
from pipelines.monitoring import decisions
from pipelines.questions import lessons, reading_set, reviews
from pipelines.system import cache, paths

RECORDS = (Path("data/qa"), Path("data/golden"), Path("data/drafts"), reviews.RECORD)


def find(subject: Subject) -> Iterator[Finding]:
    """Findings in the clone's files, those that only people can remove last.

    Raises UserError if a file that should be readable is not.
    """
    yield from _find_caches()
    if subject.kind == "tenant":
        yield from records.find_reviews(traffic.request_ids(subject))
        yield from _find_shadow(subject)
        return
    if MIRRORS.is_dir():
        count = len(list(MIRRORS.iterdir()))
        yield Finding("mirrors of Git sources", count, "folders", _remove_mirrors)
    layout = Layout.read()
    made_files: dict[str, list[Path]] = defaultdict(list)
    other_files: list[Path] = []
    for path in layout.files():
        if _speaks_of(path, subject):
            area = layout.area(path)
            if area is None:
                other_files.append(path)
            else:
                made_files[area].append(path)
    yield from _find_in_records(other_files, subject)
    for area, area_paths in made_files.items():
        yield Finding(area, len(area_paths), "files", partial(_unlink, area_paths))
    yield from documents.find(subject)
    yield from _find_decisions(subject)


def _find_caches() -> Iterator[Finding]:
    """Their values do not say what they were made from, so they are emptied as a whole."""
    for name in cache.FILES:
        path = paths.state_folder() / name
        count = cache.count(path)
        if count:
            cache.demand_unused(path)
            yield Finding(f"cache .state/{name}", count, "results", partial(cache.clear, path))


def _remove_mirrors() -> None:
    """`fetch` makes them anew; their packs hold every version of every document."""
    shutil.rmtree(MIRRORS)


def _speaks_of(path: Path, subject: Subject) -> bool:
    try:
        return file_texts.is_readable(path) and file_texts.speaks_of(path, subject)
    except FileNotFoundError:  # removed by its owner meanwhile
        return False
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{path} cannot be read ({error}), so nobody knows whom it speaks of: look at it, "
            "move it away or give it back its rights, then run the same command again"
        ) from error


def _find_in_records(file_paths: list[Path], subject: Subject) -> Iterator[Finding]:
    """Findings in files that no command makes again; lessons after the reviews they come from."""
    reading_sets: set[Path] = set()
    lesson_files: list[Path] = []
    authored_files: list[Finding] = []
    for path in file_paths:
        clone = clone_of(path)
        inside = path.relative_to(clone) if clone is not None else path
        is_own = clone is None or clone.is_relative_to(ASIDE)
        if path.suffix == ".log" and clone is None and path.is_relative_to(STATE):
            yield Finding("logs", 1, "files", partial(_remove_lines, path, subject))
        elif path.parent == snapshots.FOLDER:
            yield from _find_in_snapshot(path, subject)
        elif path in records.LESSONS:
            lesson_files.append(path)
        elif is_own and inside.parent == reading_set.FOLDER:
            reading_sets.add(path.parent)
        elif is_own and path.suffix == ".jsonl" and is_below(inside, RECORDS):
            findings = list(records.find_lines(path, subject))
            authored_files += [] if findings else [_authored_file(path)]
            yield from findings
        elif _is_authored(path, inside, subject):
            authored_files.append(_authored_file(path))
    for folder in sorted(reading_sets):
        yield from records.find_in_reading_set(folder, subject)
    yield from map(records.lessons_made_again, lesson_files)
    yield from authored_files


def _find_shadow(subject: Subject) -> Iterator[Finding]:
    """The answers of the last shadow, if some are to questions of the tenant."""
    if SHADOW.exists():
        lines = SHADOW.read_text(encoding="utf-8").splitlines()
        tenants = [json_or_text(line).get("tenant") for line in lines if line]
        if subject.name in tenants:
            remove = partial(_unlink, [SHADOW])
            yield Finding("answers of the last shadow", len(lines), "lines", remove)


def _unlink(file_paths: list[Path]) -> None:
    for path in file_paths:
        path.unlink(missing_ok=True)


def _is_authored(path: Path, inside: Path, subject: Subject) -> bool:
    """Whether people have to look at a file.

    A link to a document in other texts says nothing of what it held.
    """
    if subject.kind == "person":
        return True
    return is_below(inside, (lessons.FAQ, MODELS, snapshots.FOLDER)) or path.is_relative_to(STATE)


def _authored_file(path: Path) -> Finding:
    clone = clone_of(path)
    remedy = "edit it"
    if clone is not None and clone.parent == STATE / "runs":
        remedy = f"once that run has ended: `git worktree remove --force {clone}`"
    elif clone is not None and clone.parent == STATE / "demo":
        remedy = "`rm -r .state/demo`: `make demo` makes it anew"
    elif path.is_relative_to(RAW):
        remedy = documents.REMEDY
    elif path.is_relative_to(MODELS) or path.is_relative_to(STATE / "serving"):
        remedy = "a release's files: train and release without it"
    elif "files" in path.parts and "md5" in path.parts:
        remedy = (
            "an object of DVC's cache that a document, a release or another clone needs: mend "
            "that, then `dvc gc`"
        )
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


def _find_in_snapshot(path: Path, subject: Subject) -> Iterator[Finding]:
    """A document's row goes; a person stands in documents whose source has to be mended."""
    rows = pq.read_table(path).to_pylist()
    if subject.kind == "person":
        count = sum(subject.is_in(row) for row in rows)
        remedy = f"edit the source {path.stem}, then `python -m pipelines fetch` and `make run`"
        yield Finding(path.as_posix(), count, "documents", remedy=remedy)
        return
    mask = [row["uri"] != subject.name for row in rows]
    if not all(mask):
        remove = partial(parquet_rows.keep, path, mask)
        yield Finding(path.as_posix(), mask.count(False), "documents", remove)
        remedy = f"the next fetch brings it back: {documents.REMOTE_REMEDY}"
        yield Finding(f"source {path.stem}", 1, "documents", remedy=remedy)


def _find_decisions(subject: Subject) -> Iterator[Finding]:
    """People who accepted windows; they are on record for good."""
    if decisions.LEDGER.exists():
        count = sum(subject.is_in(entry.model_dump()) for entry in decisions.read().acceptances)
        if count:
            remedy = "it says who accepted a window, and nothing else says so"
            yield Finding(decisions.LEDGER.as_posix(), count, "lines", remedy=remedy)
