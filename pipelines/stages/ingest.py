"""ingest: the sources of params.yaml -> documents and rejections; only new documents are read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config.engine import EngineConfig
from pipelines.config.ingest import IngestConfig
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.left_out import LEFT_OUT
from pipelines.corpus import intake
from pipelines.corpus.intake import Intake
from pipelines.corpus.problems import source_error
from pipelines.corpus.sources import (
    SourceDocument,
    overlap_problems,
    pinned_versions,
    read_source,
    source_problems,
)
from pipelines.errors import UserError, demand_none
from pipelines.runtime import readers
from pipelines.system.cache import open_cache
from pipelines.system.paths import state_folder

MAX_REASONS = 10  # that an error message lists


@dataclass(frozen=True)
class Config:
    """Sections of params.yaml."""

    ingest: IngestConfig
    engine: EngineConfig


@dataclass(frozen=True)
class Inputs:
    """Files that the stage reads."""

    pipeline: Path  # lock file that pins the packages' versions


@dataclass(frozen=True)
class Outputs:
    """Files that the stage writes."""

    converted: Path
    rejections: Path
    left_out: Path
    ingestion: Path  # counts


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Read every source.

    Raises UserError if a source cannot be read or yields no document, or if too many documents are
    rejected.
    """
    sources = config.ingest.sources
    demand_none([*source_problems(sources), *overlap_problems(sources)])
    documents = _read_sources(config.ingest, inputs.pipeline)
    kind = intake.cache_kind(config.ingest)
    with open_cache(state_folder() / "work.sqlite", kind) as cache:
        result = intake.take_in(documents, config.ingest, cache, config.engine)
        _require_documents(config.ingest, result)
        rejections = sorted(result.rejections, key=lambda row: str(row["uri"]))
        files.write(outputs.rejections, REJECTIONS, rejections)
        _require_few_rejections(config.ingest, result)
        files.write(outputs.converted, DOCUMENTS, intake.document_rows(result, cache))
    files.write(outputs.left_out, LEFT_OUT, result.left_out)
    _report(outputs.ingestion, result)


def _report(path: Path, result: Intake) -> None:
    """Write and print what became of the documents."""
    stages = Counter(row["stage"] for row in result.rejections)
    num_aliases = sum(map(len, result.aliases.values()))
    group_counts = Counter(chain.from_iterable(_restricted_readers(result)))
    report = {
        "documents": len(result.documents),
        "read": result.num_read,
        "aliases": num_aliases,
        "rejected": len(result.rejections),
        "rejected_at": dict(sorted(stages.items())),
        "restricted_to": dict(sorted(group_counts.items())),
    }
    files.write_json(path, report)
    print(
        f"{len(result.documents)} documents ({result.num_read} read, the others unchanged), "
        f"{num_aliases} near-duplicates left out, {len(result.rejections)} rejected"
    )
    if group_counts:
        counts = [f"{group} {count}" for group, count in sorted(group_counts.items())]
        print(f"documents that not everyone may read, by group: {', '.join(counts)}")


def _restricted_readers(result: Intake) -> Iterator[list[str]]:
    """The groups that may read each document that not everyone may."""
    for entry in result.documents:
        if not readers.is_public(result.readers[entry.uri]):
            yield result.readers[entry.uri]


def _read_sources(config: IngestConfig, lock: Path) -> Iterator[tuple[str, SourceDocument]]:
    """(source name, document) of all sources."""
    pins = pinned_versions(lock)
    max_bytes = config.limits.max_document_mib << 20
    for source in config.sources:
        for document in read_source(source, pins, max_bytes):
            yield source.name, document


def _require_documents(config: IngestConfig, result: Intake) -> None:
    """Print the counts of each source. Raises UserError for one that has no good document."""
    by_uri = {row["uri"]: row for row in result.rejections}
    for source in config.sources:
        uris = [entry.uri for entry in result.entries if entry.source == source.name]
        rejections = [by_uri[uri] for uri in uris if uri in by_uri]
        num_good = len(uris) - len(rejections)
        print(f"{source.name}: {num_good} documents, {len(rejections)} rejected")
        if num_good == 0:
            raise source_error(
                source.name,
                "it yields no document. Fix its files, or remove it from the list:"
                + _list_reasons(rejections),
            )


def _require_few_rejections(config: IngestConfig, result: Intake) -> None:
    num_rejected = len(result.rejections)
    num_documents = len(result.entries)
    share = num_rejected / num_documents
    if share > config.max_rejected_share:
        limit = f"ingest.max_rejected_share ({config.max_rejected_share:.1%}) in params.yaml"
        raise UserError(
            f"{num_rejected} of {num_documents} documents were rejected ({share:.1%}), "
            f"more than {limit} allows. Fix or remove them:{_list_reasons(result.rejections)}"
        )


def _list_reasons(rejections: list[dict[str, Any]]) -> str:
    """A line each for the first rejections."""
    lines = [f"\n  - {row['uri']}: {row['reason']}" for row in rejections[:MAX_REASONS]]
    return "".join(lines)
