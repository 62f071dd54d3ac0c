"""validate: Great Expectations over documents -> a report that chunk and base obey, and HTML data docs.

A bad result does not fail this stage: its evidence must be recorded. The stages that it would harm refuse to start.
"""

from collections.abc import Callable, Iterator
from functools import cache as once
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import champions, files, pii, place, workcache
from pipelines.config.ingest import IngestConfig
from pipelines.config.redact import RedactConfig
from pipelines.config.validate import ValidateConfig
from pipelines.contracts.champion import Champion
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.quality import Promise, Table, examine_tables

DOCUMENTS_AT_ONCE = 256  # in memory


def run(config: ValidateConfig, ingest: IngestConfig, redact: RedactConfig, documents: Path, rejections: Path, champion: Path, validation: Path, validation_docs: Path) -> None:
    """Check every promise of params.yaml's `validate` section over all documents, and how many were rejected."""
    table = pd.DataFrame(_described(documents, redact))
    seen = pd.DataFrame(_seen(table, rejections))
    tables = [Table(table, promises(config, champions.read(champion)), "documents"), Table(seen, [_few_rejections(ingest.max_rejected_share)], "rejections")]
    report = examine_tables(tables, docs=validation_docs)
    files.write_json(validation, report)
    print(f"{len(table)} documents, {len(seen) - len(table)} rejected: {report.reason}")


def _described(documents: Path, redact: RedactConfig) -> Iterator[dict[str, Any]]:
    kind = workcache.kind("personal-data-left", pii.CODE, pii.settings(redact), pii.LIBRARIES)
    redactor = once(lambda: pii.load(redact))  # loaded for the first text that the cache does not have
    with workcache.opened(place.shared_state() / "work.sqlite", kind) as cache:
        for batch in files.batches(documents, DOCUMENTS, DOCUMENTS_AT_ONCE):
            rows = batch.to_pylist()
            left = _left(rows, redactor, cache)
            for row, found in zip(rows, left, strict=True):
                described = {key: row[key] for key in ("doc_id", "uri", "title", "media_type", "language")}
                yield described | {"characters": len(row["text"].strip()), "num_aliases": len(row["aliases"]), "personal_data": found}


def _left(rows: list[dict[str, Any]], redactor: Callable[[], pii.Redactor], cache: workcache.Cache) -> Iterator[str | None]:
    """Types of personal data in each document's text, title and headings, which `redact` should have replaced; looked for anew in the text as it is."""
    parts = [[row["title"] or "", *(section["heading"] for section in row["sections"]), row["text"]] for row in rows]
    keys = [files.text_digest("\n".join(some)) for some in parts]
    known = cache.many(keys)
    for some, key in zip(parts, keys, strict=True):
        if key not in known:
            known[key] = sorted({find.type for part in some for find in redactor().finds(part)})
            cache.put({key: known[key]})
        yield ", ".join(known[key]) or None


def _seen(table: pd.DataFrame, rejections: Path) -> Iterator[dict[str, Any]]:
    """Every document that a source gave, its near-duplicates not counted: accepted ones without a reason, rejected ones with theirs."""
    for uri in table["uri"] if len(table) else []:
        yield {"uri": uri, "rejected": None}
    for row in files.read(rejections, REJECTIONS):
        yield {"uri": row["uri"], "rejected": f"{row['stage']}: {row['reason']}"}


def _few_rejections(most: float) -> Promise:
    return Promise("documents rejected", "ExpectColumnValuesToBeNull", {"column": "rejected"}, 1 - most)


def promises(config: ValidateConfig, champion: Champion | None) -> list[Promise]:
    """What documents must be like; the number of documents is held against the champion, once there is one."""
    fewest, most = config.min_documents, None
    if champion:
        before, change = champion.num_documents, config.max_volume_change_share
        fewest, most = max(fewest, round(before * (1 - change))), round(before * (1 + change))
    unique, filled, between, member = "ExpectColumnValuesToBeUnique", "ExpectColumnValuesToNotBeNull", "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet"
    return [
        Promise("number of documents", "ExpectTableRowCountToBeBetween", {"min_value": fewest, "max_value": most}),
        Promise("ids are unique", unique, {"column": "doc_id"}),
        Promise("uris are unique", unique, {"column": "uri"}),
        Promise("text is not empty", "ExpectColumnMinToBeBetween", {"column": "characters", "min_value": 1}),
        Promise("length in characters", between, {"column": "characters", "min_value": config.min_characters, "max_value": config.max_characters}),
        Promise("language", member, {"column": "language", "value_set": config.languages}, config.min_language_share),
        Promise("near-duplicates", "ExpectColumnMeanToBeBetween", {"column": "num_aliases", "max_value": config.max_duplicate_share}),
        Promise("has a title", filled, {"column": "title"}, 1 - config.max_untitled_share),
        Promise("no personal data left", "ExpectColumnValuesToBeNull", {"column": "personal_data"}),
        Promise("media type", member, {"column": "media_type", "value_set": config.media_types}),
    ]
