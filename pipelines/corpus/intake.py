"""Takes documents into the corpus: read what is new, judge it, leave out near-duplicates.

What was read of a document is cached by the digest of its content (system/cache.py), so an
unchanged document is not read again, unless it was too slow, out of memory or crashed its reader.
Memory holds one line for each document (uri, keys, signature); texts stay in the cache and come
from there a few at a time.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pipelines.config.engine import EngineConfig
from pipelines.config.ingest import FaqSource, IngestConfig, PackagesSource, Quality, Source
from pipelines.contracts.documents import restriction
from pipelines.corpus import reading, recognition, workers
from pipelines.corpus.duplicates import Candidate, find_aliases
from pipelines.corpus.formats import Bounds
from pipelines.corpus.quality_rules import broken_rule
from pipelines.corpus.reading import Task
from pipelines.corpus.reading_code import CODE, LIBRARIES, PRELOAD
from pipelines.corpus.sources import SourceDocument
from pipelines.files import text_digest
from pipelines.runtime import character_pairs, readers
from pipelines.system import cache
from pipelines.system.cache import Cache
from pipelines.system.engine import LOCAL, Work, work

MIB = 1 << 20
DOCUMENTS_A_BATCH = 64  # in memory at once
BATCH_BYTES = 8 * MIB
CLOCK_FACTOR = 10  # times ingest.limits.seconds that may pass, so that a busy machine rejects none
TASKS_A_CALL = 16  # documents that a node of a cluster reads at a time
Row = dict[str, Any]


class Entry(NamedTuple):
    """A document that a source has. `problem` says why there is no content."""

    uri: str
    source: str
    key: str  # under which the cache holds what was read; empty if there is no content
    content_digest: str | None
    problem: str | None
    page: str | None = None  # uri of the document that a topic of the FAQ rests on


@dataclass
class Intake:
    """What became of all documents."""

    entries: list[Entry] = field(default_factory=list)  # every document of every source
    documents: list[Entry] = field(default_factory=list)  # those that stay, sorted by doc_id
    rejections: list[Row] = field(default_factory=list)  # of contracts/documents.py
    aliases: dict[str, list[str]] = field(default_factory=dict)  # uri -> uris of its duplicates
    num_read: int = 0  # documents that the cache did not have
    failures: dict[str, str] = field(default_factory=dict)  # key -> problem that may pass later
    left_out: list[Row] = field(default_factory=list)  # of contracts/left_out.py
    readers: dict[str, list[str]] = field(default_factory=dict)  # uri -> as in documents.parquet


def cache_kind(config: IngestConfig) -> str:
    """Names this reading in the cache: other code, bounds or libraries read again.

    The limits of time and memory are no part of it, since what exceeds them is not cached.
    """
    folder = Path(__file__).parent
    code = [folder / name for name in CODE]
    code += [Path(str(module.__file__)) for module in (readers, character_pairs)]
    return cache.kind_of("read", code, repr(_bounds(config)), LIBRARIES)


def _bounds(config: IngestConfig) -> Bounds:
    recogniser = recognition.find(tuple(config.ocr_languages))
    return Bounds(config.limits.max_pages, config.limits.max_unpacked_mib * MIB, recogniser)


def take_in(
    documents: Iterable[tuple[str, SourceDocument]],
    config: IngestConfig,
    work_cache: Cache[Any],
    engine: EngineConfig = LOCAL,
) -> Intake:
    """Read, judge and compare every (source name, document)."""
    intake = Intake()
    tasks = _missing_tasks(documents, _bounds(config), work_cache, intake)
    for outcome in _read_all(tasks, config, engine):
        intake.num_read += 1
        if outcome.may_pass_later:
            intake.failures[outcome.key] = str(outcome.problem)
        elif outcome.problem:
            _store(work_cache, outcome.key, {"rejected": outcome.problem, "media_type": None})
        else:
            _store(work_cache, outcome.key, outcome.result)
    facts = _load_facts(work_cache, intake)
    good_entries = _judge_all(intake, facts, config)
    _separate_duplicates(intake, good_entries, facts, config.near_duplicate_similarity)
    intake.left_out = sorted(_left_out(intake.documents, facts), key=itemgetter("uri", "kind"))
    return intake


def document_rows(intake: Intake, work_cache: Cache[Any]) -> Iterator[Row]:
    """Rows of converted.parquet, sorted by doc_id."""
    for start in range(0, len(intake.documents), DOCUMENTS_A_BATCH):
        entries = intake.documents[start : start + DOCUMENTS_A_BATCH]
        rows = work_cache.get_many(entry.key for entry in entries)
        for entry in entries:
            row = rows[entry.key]
            yield {
                **row,
                "readers": intake.readers[entry.uri],
                "doc_id": doc_id(entry.uri),
                "uri": entry.uri,
                "source": entry.source,
                "content_digest": entry.content_digest,
                "aliases": intake.aliases.get(entry.uri, []),
                "digest": text_digest(row["text"]),
            }


def doc_id(uri: str) -> str:
    """Id of the document with this uri."""
    return text_digest(uri)[:16]


def _missing_tasks(
    documents: Iterable[tuple[str, SourceDocument]],
    bounds: Bounds,
    work_cache: Cache[Any],
    intake: Intake,
) -> Iterator[tuple[str, Task]]:
    """Fill `intake.entries`; yields what the cache does not have, each key once."""
    queued_keys: set[str] = set()
    for batch in _batches(documents):
        tasks: dict[str, Task] = {}
        for source, document in batch:
            entry = _entry(source, document)
            intake.entries.append(entry)
            if entry.key:
                tasks.setdefault(entry.key, _task(document, bounds))
        new_keys = tasks.keys() - queued_keys
        present = work_cache.present(map(_facts_key, new_keys))
        for key, task in tasks.items():
            if key in new_keys and _facts_key(key) not in present:
                queued_keys.add(key)
                yield key, task


def _batches(
    documents: Iterable[tuple[str, SourceDocument]],
) -> Iterator[list[tuple[str, SourceDocument]]]:
    """Batches of at most DOCUMENTS_A_BATCH documents, or of little more than BATCH_BYTES."""
    batch: list[tuple[str, SourceDocument]] = []
    num_bytes = 0
    for source, document in documents:
        batch.append((source, document))
        num_bytes += len(document.content)
        if len(batch) == DOCUMENTS_A_BATCH or num_bytes > BATCH_BYTES:
            yield batch
            batch = []
            num_bytes = 0
    if batch:
        yield batch


def _entry(source: str, document: SourceDocument) -> Entry:
    if document.problem:
        return Entry(document.uri, source, "", None, document.problem)
    digest = content_digest(document.content)
    parts = (digest, _suffix(document), document.hint or "", document.title or "")
    key = text_digest("\0".join(parts))
    return Entry(document.uri, source, key, digest, None, document.page)


def _task(document: SourceDocument, bounds: Bounds) -> Task:
    name = f"document{_suffix(document)}"
    return Task(document.content, name, document.hint, document.title, bounds)


def _suffix(document: SourceDocument) -> str:
    return PurePosixPath(document.uri).suffix.lower()


def content_digest(content: bytes) -> str:
    """sha256 of the bytes that a source has."""
    return sha256(content).hexdigest()


def _read_all(
    tasks: Iterator[tuple[str, Task]], config: IngestConfig, engine: EngineConfig
) -> Iterator[workers.Outcome[str]]:
    """Read documents in processes of this machine or of a cluster."""
    limits = workers.Limits(
        seconds=config.limits.seconds,
        memory_bytes=config.limits.memory_mib * MIB,
        clock_seconds=CLOCK_FACTOR * config.limits.seconds,
    )
    if engine.kind == "local":  # a document need not wait for the rest of its list
        num_workers = config.num_workers or os.cpu_count() or 1
        return workers.run(reading.read, tasks, limits, num_workers, PRELOAD)
    return work(engine, partial(_reader, limits), tasks, TASKS_A_CALL)


def _reader(limits: workers.Limits) -> Work:
    """Reads a list of tasks within the limits, in a process beside the one that calls it."""
    return lambda tasks: list(workers.run(reading.read, tasks, limits, 1, PRELOAD))


def _facts_key(key: str) -> str:
    return f"{key}/facts"


def _store(work_cache: Cache[Any], key: str, row: Row) -> None:
    """Cache the row and, apart from it, the facts by which a document is judged.

    Every run reads the facts of every document, but only the rows of those that stay.
    """
    if "rejected" in row:
        work_cache.put({_facts_key(key): row})
        return
    facts = {
        "measures": row.pop("measures"),
        "signature": row.pop("signature"),
        "digest": text_digest(row["text"]),
        "num_words": row.pop("num_words"),
        "left_out": row.pop("left_out"),
        "readers": row.pop("readers"),
    }
    work_cache.put({key: row, _facts_key(key): facts})


def _load_facts(work_cache: Cache[Any], intake: Intake) -> dict[str, Row]:
    """Key of an entry -> its facts."""
    facts: dict[str, Row] = {key: {"rejected": why} for key, why in intake.failures.items()}
    keys = {entry.key for entry in intake.entries if entry.key} - facts.keys()
    cached_facts = work_cache.get_many(map(_facts_key, keys))
    for key in keys:
        facts[key] = cached_facts[_facts_key(key)]
    return facts


def _judge_all(intake: Intake, facts: dict[str, Row], config: IngestConfig) -> list[Entry]:
    """The entries that break no rule; the rest become `intake.rejections`."""
    good_entries: list[Entry] = []
    source_readers = {source.name: _readers_of(source) for source in config.sources}
    for entry in intake.entries:
        entry_facts = facts.get(entry.key, {})
        if "readers" in entry_facts:
            # One document that `read` shows belongs to no source.
            admitted_groups = source_readers.get(entry.source, [])
            intake.readers[entry.uri] = _narrow(admitted_groups, entry_facts["readers"])
    for entry in intake.entries:
        rejection = _judge(entry, facts, config.quality)
        if rejection is None:
            rejection = _judge_readers(entry, intake.readers, source_readers)
        if rejection is None:
            good_entries.append(entry)
            continue
        stage, reason = rejection
        intake.rejections.append(
            {
                "uri": entry.uri,
                "source": entry.source,
                "stage": stage,
                "reason": reason,
                "digest": entry.content_digest,
            }
        )
    return good_entries


def _judge(entry: Entry, facts: dict[str, Row], quality: Quality) -> tuple[str, str] | None:
    """Stage (of contracts/documents.py) and reason of a rejection; None for a good document."""
    if entry.problem:
        return "source", entry.problem
    entry_facts = facts[entry.key]
    if "rejected" in entry_facts:
        return "convert", entry_facts["rejected"]
    reason = broken_rule(entry_facts, quality)
    return ("quality", reason) if reason else None


def _readers_of(source: Source) -> list[str]:
    """The groups that may read a source's documents; empty: everyone."""
    return [] if isinstance(source, PackagesSource | FaqSource) else source.readers


def _narrow(source_readers: list[str], own_readers: list[str] | None) -> list[str]:
    """Who may read a document: a document may exclude readers of its source, never add any."""
    if own_readers is None or readers.is_public(own_readers):
        return sorted(set(source_readers)) or [readers.EVERYONE]
    if not source_readers:
        return own_readers
    return sorted(set(source_readers) & set(own_readers))


def _judge_readers(
    entry: Entry, known_readers: dict[str, list[str]], source_readers: dict[str, list[str]]
) -> tuple[str, str] | None:
    """Stage and reason of a rejection: nobody may read it, or it says what not everyone may."""
    if not known_readers[entry.uri]:
        groups = ", ".join(sorted(source_readers[entry.source]))
        return "readers", (
            f"its front matter names none of the groups that may read its source ({groups}): name "
            "one of them, or none at all"
        )
    page_readers = known_readers.get(entry.page or "", [readers.EVERYONE])
    if readers.is_public(page_readers):
        return None
    return "readers", f"its page {entry.page!r} {restriction(page_readers)}"


def _left_out(documents: Iterable[Entry], facts: dict[str, Row]) -> Iterator[Row]:
    for entry in documents:
        entry_facts = facts[entry.key]
        for kind, num_characters in entry_facts["left_out"].items():
            yield {
                "uri": entry.uri,
                "source": entry.source,
                "num_kept": entry_facts["measures"]["characters"],
                "kind": kind,
                "num_left_out": num_characters,
            }


def _separate_duplicates(
    intake: Intake, good_entries: list[Entry], facts: dict[str, Row], similarity: float
) -> None:
    """Fill `intake.documents` and `intake.aliases`.

    Documents with different readers are both kept: neither can stand for the other.
    """
    candidates: dict[tuple[str, ...], list[Candidate]] = {}  # by readers
    for entry in good_entries:
        entry_facts = facts[entry.key]
        candidate = Candidate(entry.uri, entry_facts["digest"], entry_facts["signature"])
        candidates.setdefault(tuple(intake.readers[entry.uri]), []).append(candidate)
    aliases: dict[str, str] = {}
    for group in candidates.values():
        aliases |= find_aliases(group, similarity)
    for uri, original in sorted(aliases.items()):
        intake.aliases.setdefault(original, []).append(uri)
    documents = (entry for entry in good_entries if entry.uri not in aliases)
    intake.documents = sorted(documents, key=lambda entry: doc_id(entry.uri))
