"""validate: documents -> a report by Great Expectations that chunk and base obey, and data docs.

A bad result does not fail this stage: its evidence must be recorded. The stages that it would harm
refuse to start.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import files
from pipelines.config.ingest import IngestConfig
from pipelines.config.redact import RedactConfig
from pipelines.config.validate import ValidateConfig
from pipelines.contracts.champion import Champion
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.left_out import LEFT_OUT
from pipelines.contracts.report import CheckCode
from pipelines.corpus import losses, pii
from pipelines.corpus.losses import Loss
from pipelines.corpus.quality import Promise, Table, examine_tables
from pipelines.decision import champions
from pipelines.system import paths
from pipelines.system.cache import Cache, kind_of, open_cache

DOCUMENTS_AT_ONCE = 256  # in memory
FACTS = ("doc_id", "uri", "title", "media_type", "language")  # columns examined as they are


@dataclass(frozen=True)
class Config:
    validate: ValidateConfig
    ingest: IngestConfig
    redact: RedactConfig


@dataclass(frozen=True)
class Inputs:
    documents: Path
    rejections: Path
    left_out: Path
    champion: Path


@dataclass(frozen=True)
class Outputs:
    validation: Path  # the report
    validation_docs: Path


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Check the promises of the section `validate`, and how many documents were rejected."""
    shares = {loss.uri: loss.share for loss in _read_losses(inputs.left_out)}
    accepted_documents = pd.DataFrame(_describe(inputs.documents, config.redact, shares))
    all_documents = pd.DataFrame(_list_with_rejections(accepted_documents, inputs.rejections))
    promises = list_promises(config.validate, champions.read(inputs.champion))
    max_rejected_share = config.ingest.max_rejected_share
    tables = [
        Table(accepted_documents, promises, "documents"),
        Table(all_documents, [_promise_few_rejections(max_rejected_share)], "rejections"),
    ]
    report = examine_tables(tables, docs=outputs.validation_docs)
    files.write_json(outputs.validation, report)
    num_accepted = len(accepted_documents)
    num_rejected = len(all_documents) - num_accepted
    print(f"{num_accepted} documents, {num_rejected} rejected: {report.reason}")


def _read_losses(left_out: Path) -> list[Loss]:
    return losses.by_document(files.read(left_out, LEFT_OUT))


def _describe(
    documents: Path, redact: RedactConfig, shares: dict[str, float]
) -> Iterator[dict[str, Any]]:
    """What is examined of each document. `shares`: uri -> share of its text that was left out."""
    settings = pii.describe_settings(redact)
    kind = kind_of("personal-data-left", pii.CODE, settings, pii.LIBRARIES)
    # Loaded for the first text that the cache does not have.
    load_redactor = cache(lambda: pii.load(redact))
    with open_cache(paths.state_folder() / "work.sqlite", kind) as work_cache:
        for batch in files.batches(documents, DOCUMENTS, DOCUMENTS_AT_ONCE):
            rows = batch.to_pylist()
            remaining_types = _find_personal_data(rows, load_redactor, work_cache)
            for row, types in zip(rows, remaining_types, strict=True):
                facts = {name: row[name] for name in FACTS}
                yield facts | {
                    "characters": len(row["text"].strip()),
                    "num_aliases": len(row["aliases"]),
                    "left_out_share": shares.get(row["uri"], 0.0),
                    "personal_data": types,
                }


def _find_personal_data(
    rows: list[dict[str, Any]], load_redactor: Callable[[], pii.Redactor], work_cache: Cache[Any]
) -> Iterator[str | None]:
    """Types of personal data in text, title and headings, which `redact` should have replaced.

    They are searched for in the text as it is, not taken from what `redact` cached.
    """
    parts = list(map(_texts, rows))
    keys = list(map(_key, parts))
    types_by_key = work_cache.get_many(keys)
    for texts, key in zip(parts, keys, strict=True):
        if key not in types_by_key:
            types_by_key[key] = _find_types(load_redactor(), texts)
            work_cache.put({key: types_by_key[key]})
        yield ", ".join(types_by_key[key]) or None


def _texts(row: dict[str, Any]) -> list[str]:
    headings = [section["heading"] for section in row["sections"]]
    return [row["title"] or "", *headings, row["text"]]


def _key(texts: list[str]) -> str:
    return files.text_digest("\n".join(texts))


def _find_types(redactor: pii.Redactor, texts: list[str]) -> list[str]:
    types: set[str] = set()
    for text in texts:
        types.update(entity.type for entity in redactor.find_entities(text))
    return sorted(types)


def _list_with_rejections(
    accepted_documents: pd.DataFrame, rejections: Path
) -> Iterator[dict[str, Any]]:
    """Every document that a source gave, its near-duplicates not counted.

    Accepted ones have no reason, rejected ones have theirs.
    """
    for uri in accepted_documents["uri"] if len(accepted_documents) else []:
        yield {"uri": uri, "rejected": None}
    for row in files.read(rejections, REJECTIONS):
        yield {"uri": row["uri"], "rejected": f"{row['stage']}: {row['reason']}"}


def _promise_few_rejections(max_share: float) -> Promise:
    column = {"column": "rejected"}
    return Promise("documents rejected", "ExpectColumnValuesToBeNull", column, 1 - max_share)


def list_promises(config: ValidateConfig, champion: Champion | None) -> list[Promise]:
    """What documents must be like.

    The number of documents is compared with the champion's, once there is a champion.
    """
    return [
        _promise_number(config, champion),
        *_promise_identity(),
        *_promise_text(config),
        *_promise_description(config),
    ]


def _promise_number(config: ValidateConfig, champion: Champion | None) -> Promise:
    minimum = config.min_documents
    maximum = None
    if champion:
        change = config.max_volume_change_share
        minimum = max(minimum, round(champion.num_documents * (1 - change)))
        maximum = round(champion.num_documents * (1 + change))
    return Promise(
        "number of documents",
        "ExpectTableRowCountToBeBetween",
        {"min_value": minimum, "max_value": maximum},
        code=CheckCode.NUM_DOCUMENTS,
    )


def _promise_identity() -> Iterator[Promise]:
    yield Promise("ids are unique", "ExpectColumnValuesToBeUnique", {"column": "doc_id"})
    yield Promise("uris are unique", "ExpectColumnValuesToBeUnique", {"column": "uri"})


def _promise_text(config: ValidateConfig) -> Iterator[Promise]:
    not_empty = {"column": "characters", "min_value": 1}
    yield Promise("text is not empty", "ExpectColumnMinToBeBetween", not_empty)
    length = {"column": "characters", "min_value": config.min_median_characters}
    yield Promise("median length in characters", "ExpectColumnMedianToBeBetween", length)
    languages = {"column": "language", "value_set": config.languages}
    share = config.min_language_share
    yield Promise("language", "ExpectColumnValuesToBeInSet", languages, share)


def _promise_description(config: ValidateConfig) -> Iterator[Promise]:
    duplicates = {"column": "num_aliases", "max_value": config.max_duplicate_share}
    yield Promise("near-duplicates", "ExpectColumnMeanToBeBetween", duplicates)
    share = 1 - config.max_untitled_share
    yield Promise("has a title", "ExpectColumnValuesToNotBeNull", {"column": "title"}, share)
    left_out = {"column": "left_out_share", "max_value": config.max_left_out_share}
    yield Promise(
        "text left out while reading",
        "ExpectColumnValuesToBeBetween",
        left_out,
        losses.DOCUMENTS_WITHIN_LIMIT,
    )
    column = {"column": "personal_data"}
    yield Promise("no personal data left", "ExpectColumnValuesToBeNull", column)
    media_types = {"column": "media_type", "value_set": config.media_types}
    yield Promise("media type", "ExpectColumnValuesToBeInSet", media_types)
