"""Which documents there are, told in seconds: by the last `ingest`, or by listing the sources.

A listing cannot tell which documents `ingest` rejects or leaves out as near-duplicates.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines import files
from pipelines.config.ingest import Source
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS, restriction
from pipelines.corpus.sources import list_uris, overlap_problems, source_problems
from pipelines.errors import UserError
from pipelines.runtime import readers


@dataclass(frozen=True)
class Catalogue:
    """All documents of all sources."""

    uris: frozenset[str]  # that answers can cite
    reasons: dict[str, str]  # uri -> why it is not among them
    problems: list[str]  # why sources cannot be read
    unreadable_sources: frozenset[str]
    num_restricted: int  # documents that not everyone may read; they are among `reasons`
    is_ingested: bool  # by files that `ingest` wrote for these very documents


def read(sources: Iterable[Source], documents: Path, rejections: Path) -> Catalogue:
    """The documents of documents.parquet if it has those of the sources, else the listing."""
    listing: set[str] = set()
    sources = list(sources)
    problems = overlap_problems(sources)
    unreadable_sources: set[str] = set()
    for source in sources:
        failures = source_problems([source])
        problems += failures
        if failures:
            unreadable_sources.add(source.name)
        else:
            listing.update(list_uris(source))
    uris, reasons, num_restricted = _read_ingested(documents, rejections)
    is_ingested = not problems and {*uris, *reasons} == listing
    return Catalogue(
        uris=frozenset(uris if is_ingested else listing),
        reasons=reasons if is_ingested else {},
        problems=problems,
        unreadable_sources=frozenset(unreadable_sources),
        num_restricted=num_restricted if is_ingested else 0,
        is_ingested=is_ingested,
    )


def size_problems(catalogue: Catalogue, min_documents: int) -> list[str]:
    """Too few documents for `validate`, however good they are."""
    num_documents = len(catalogue.uris) + catalogue.num_restricted
    if num_documents >= min_documents or catalogue.problems:
        return []
    return [
        f"params.yaml: validate.min_documents: {min_documents}, but the sources hold "
        f"{num_documents} documents, so `validate` would refuse them: add documents, or "
        "lower it"
    ]


def _read_ingested(documents: Path, rejections: Path) -> tuple[set[str], dict[str, str], int]:
    """Uris, those left out with their reasons, and how many of these not everyone may read.

    Nothing before `ingest` and `redact` ran.
    """
    uris: set[str] = set()
    reasons: dict[str, str] = {}
    num_restricted = 0
    try:
        for row in _columns(rejections, REJECTIONS, ["uri", "reason"]):
            reasons[row["uri"]] = f"was rejected by `ingest`: {row['reason']}: mend the document"
        for row in _columns(documents, DOCUMENTS, ["uri", "aliases", "readers"]):
            if readers.is_public(row["readers"]):
                uris.add(row["uri"])
            else:
                reasons[row["uri"]] = restriction(row["readers"])
                num_restricted += 1
            for alias in row["aliases"]:
                reasons[alias] = (
                    f"is a near-duplicate of {row['uri']!r}, which stands for both: name that page"
                )
    except UserError:
        # Missing, or of an older version of the code: the listing serves, and `check` says so.
        return set(), {}, 0
    return uris, reasons, num_restricted


def restricted_pages(documents: Path) -> dict[str, str]:
    """Uri of each document that not everyone may read -> why no question of ours may name it."""
    pages: dict[str, str] = {}
    # Before `ingest` ran, or ran anew by code that knows of readers, no document has any.
    if not documents.exists() or "readers" not in pq.read_schema(documents).names:
        return pages
    for row in _columns(documents, DOCUMENTS, ["uri", "readers"]):
        if not readers.is_public(row["readers"]):
            pages[row["uri"]] = restriction(row["readers"])
    return pages


def _columns(path: Path, schema: Any, columns: list[str]) -> Iterable[dict[str, Any]]:
    for batch in files.batches(path, schema, columns=columns):
        yield from batch.to_pylist()
