"""Knows the way of documents from their sources into the corpus: read what is new, judge, leave out near-duplicates.

A document's reading is kept by the digest of its content (workcache.py), so that one that has not changed is not read again.
Of every document a line is held in memory (uri, keys, signature); texts are in the cache and come from there one by one.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pipelines import workcache
from pipelines.config.engine import EngineConfig
from pipelines.config.ingest import IngestConfig, Quality
from pipelines.corpus import duplicates, reading, workers
from pipelines.corpus.formats import Bounds
from pipelines.corpus.reading import Task
from pipelines.corpus.sources import Found
from pipelines.engine import LOCAL, Work, work
from pipelines.files import text_digest
from pipelines.workcache import Cache

MIB = 1 << 20
ROWS_A_QUERY = 64  # documents in memory at once
LOT_BYTES = 8 * MIB
TASKS_A_CALL = 16  # documents that a node of a cluster reads at a time
CODE = ("detection.py", "formats.py", "letters.py", "markup.py", "office.py", "parts.py", "pdf.py", "reading.py", "workers.py")
LIBRARIES = (
    "beautifulsoup4", "charset-normalizer", "datasketch", "docutils", "ftfy", "lxml", "markdown-it-py", "markdownify", "openpyxl", "pdfminer.six", "pdfplumber", "puremagic", "py3langid", "python-docx",
    "python-pptx",
)  # fmt: skip

PRELOAD = ("bs4", "datasketch", "ftfy.badness", "lxml.html", "markdown_it", "markdownify", "pipelines.corpus.preloaded")  # what most documents need


class Entry(NamedTuple):
    """A document that a source has. `key` is what its reading is kept under; `problem` says why there is no content."""

    uri: str
    source: str
    key: str
    content_digest: str | None
    problem: str | None


@dataclass
class Intake:
    """What became of all documents. `rejections` as contracts/documents.py has them."""

    entries: list[Entry] = field(default_factory=list)
    kept: list[Entry] = field(default_factory=list)
    rejections: list[dict[str, Any]] = field(default_factory=list)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    num_read: int = 0


def kind(config: IngestConfig) -> str:
    """Name of this reading in the cache: another code, limit or library reads anew."""
    folder = Path(__file__).parent
    return workcache.kind("read", [folder / name for name in CODE], config.limits.model_dump_json(), LIBRARIES)


def take_in(found: Iterable[tuple[str, Found]], config: IngestConfig, cache: Cache, engine: EngineConfig = LOCAL) -> Intake:
    """Read, judge and compare every (source name, document)."""
    intake = Intake()
    _read(found, config, cache, intake, engine)
    facts = _facts(cache, intake.entries)
    good = [entry for entry in intake.entries if _judged(entry, facts, config.quality, intake)]
    candidates = (duplicates.Candidate(entry.uri, facts[entry.key]["digest"], facts[entry.key]["signature"]) for entry in good)
    left_out = duplicates.aliases(candidates, config.near_duplicate_similarity)
    for uri, stands_for_it in sorted(left_out.items()):
        intake.aliases.setdefault(stands_for_it, []).append(uri)
    intake.kept = sorted((entry for entry in good if entry.uri not in left_out), key=lambda entry: doc_id(entry.uri))
    return intake


def documents(intake: Intake, cache: Cache) -> Iterator[dict[str, Any]]:
    """Rows of documents.parquet, sorted by doc_id."""
    for start in range(0, len(intake.kept), ROWS_A_QUERY):
        some = intake.kept[start : start + ROWS_A_QUERY]
        rows = cache.many(entry.key for entry in some)
        for entry in some:
            row = rows[entry.key]
            named = {"doc_id": doc_id(entry.uri), "uri": entry.uri, "source": entry.source, "content_digest": entry.content_digest, "aliases": intake.aliases.get(entry.uri, [])}
            yield {**row, **named, "digest": text_digest(row["text"])}


def doc_id(uri: str) -> str:
    return text_digest(uri)[:16]


def _read(found: Iterable[tuple[str, Found]], config: IngestConfig, cache: Cache, intake: Intake, engine: EngineConfig) -> None:
    """Fill `intake.entries`; read in worker processes what the cache does not have."""
    limits = workers.Limits(config.limits.seconds, config.limits.memory_mib * MIB)
    bounds = Bounds(config.limits.max_pages, config.limits.max_unpacked_mib * MIB)
    missing = _missing(found, bounds, cache, intake)
    here = engine.kind == "local"  # where documents need not wait for each other's list
    read = workers.run(reading.read, missing, limits, config.num_workers or os.cpu_count() or 1, PRELOAD) if here else work(engine, partial(_reader, limits), missing, TASKS_A_CALL)
    for key, row, problem in read:
        intake.num_read += 1
        _keep(cache, key, {"rejected": problem, "media_type": None} if problem else row)


def _reader(limits: workers.Limits) -> Work:
    """Reads a list of tasks within the limits, in a process of its own beside the one that asks."""
    return lambda tasks: list(workers.run(reading.read, tasks, limits, 1, PRELOAD))


def _keep(cache: Cache, key: str, row: dict[str, Any]) -> None:
    """The row, and apart from it the facts by which it is judged, which are read for every document at every run."""
    if "rejected" in row:
        cache.put({f"{key}/facts": row})
        return
    facts = {name: row.pop(name) for name in ("measures", "signature")}
    facts |= {"digest": text_digest(row["text"]), "num_words": len(row["text"].split())}
    cache.put({key: row, f"{key}/facts": facts})


def _missing(found: Iterable[tuple[str, Found]], bounds: Bounds, cache: Cache, intake: Intake) -> Iterator[tuple[str, Task]]:
    """What the cache does not have, each key once; looked up for some documents at a time."""
    queued: set[str] = set()
    for some in _lots(found):
        tasks: dict[str, Task] = {}
        for source, document in some:
            if document.problem:
                intake.entries.append(Entry(document.uri, source, "", None, document.problem))
                continue
            digest = content_digest(document.content)
            suffix = PurePosixPath(document.uri).suffix.lower()
            key = text_digest("\0".join([digest, suffix, document.hint or "", document.title or ""]))
            intake.entries.append(Entry(document.uri, source, key, digest, None))
            tasks.setdefault(key, Task(document.content, f"document{suffix}", document.hint, document.title, bounds))
        known = cache.known(f"{key}/facts" for key in tasks.keys() - queued)
        for key, task in tasks.items():
            if key not in queued and f"{key}/facts" not in known:
                queued.add(key)
                yield key, task


def _lots(found: Iterable[tuple[str, Found]]) -> Iterator[list[tuple[str, Found]]]:
    """Documents in lots of at most ROWS_A_QUERY, or of little more than LOT_BYTES."""
    held: list[tuple[str, Found]] = []
    size = 0
    for entry in found:
        held.append(entry)
        size += len(entry[1].content)
        if len(held) == ROWS_A_QUERY or size > LOT_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def content_digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def _facts(cache: Cache, entries: list[Entry]) -> dict[str, dict[str, Any]]:
    found = cache.many({f"{entry.key}/facts" for entry in entries if entry.key})
    return {key.removesuffix("/facts"): value for key, value in found.items()}


def _judged(entry: Entry, facts: dict[str, dict[str, Any]], quality: Quality, intake: Intake) -> bool:
    """Whether the document stays; its rejection is on record where it does not."""
    stage, reason = "source", entry.problem
    if entry.key:
        fact = facts[entry.key]
        stage, reason = ("convert", fact["rejected"]) if "rejected" in fact else ("quality", broken_rule(fact, quality))
    if reason:
        intake.rejections.append({"uri": entry.uri, "source": entry.source, "stage": stage, "reason": reason, "digest": entry.content_digest})
    return not reason


def broken_rule(facts: dict[str, Any], quality: Quality) -> str | None:
    """The first rule that a document's measures break, with value and bound; None where it keeps all."""
    measures = facts["measures"]
    if facts["num_words"] < quality.min_words:
        return f"has {facts['num_words']} words, fewer than ingest.quality.min_words ({quality.min_words})"
    if measures["letter_share"] < quality.min_letter_share:
        return f"{measures['letter_share']:.1%} of its characters are letters, less than ingest.quality.min_letter_share ({quality.min_letter_share:.1%})"
    for name, what, most in (
        ("repeated_line_share", "of its characters are in lines that occurred before", quality.max_repeated_line_share),
        ("replacement_share", "of its characters are replacement characters", quality.max_replacement_share),
        ("mojibake_share", "of its characters look wrongly decoded", quality.max_mojibake_share),
    ):
        if measures[name] > most:
            return f"{measures[name]:.1%} {what}, more than ingest.quality.max_{name} ({most:.1%})"
    return None
