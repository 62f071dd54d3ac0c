"""redact: converted documents -> documents without personal data, and what was replaced in them.

Neither the report of counts nor the list of replacements contains a value.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines import files
from pipelines.config.engine import EngineConfig
from pipelines.config.redact import RedactConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.redaction import Redaction
from pipelines.contracts.redactions import REDACTIONS
from pipelines.corpus import pii
from pipelines.system import paths
from pipelines.system.cache import keys_of, kind_of, open_cache
from pipelines.system.engine import Work, work

DOCUMENTS_A_CALL = 16  # that one process of a cluster works on at a time
KEY_COLUMNS = ["digest", "title"]  # what the personal data in a document depends on


@dataclass(frozen=True)
class Config:
    redact: RedactConfig
    engine: EngineConfig


@dataclass(frozen=True)
class Inputs:
    converted: Path


@dataclass(frozen=True)
class Outputs:
    documents: Path
    redactions: Path  # the list
    redaction: Path  # the report


class Tally:
    """What was replaced, by document, and counts by (type, source)."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.num_documents = 0
        self.rows: list[dict[str, Any]] = []  # of redactions.parquet

    def add(self, uri: str, source: str, replacements: list[dict[str, Any]]) -> None:
        for replacement in replacements:
            self.counts[replacement["type"], source] += 1
            self.rows.append({"uri": uri, "source": source, **replacement})
        self.num_documents += bool(replacements)

    def report(self, config: RedactConfig) -> Redaction:
        by_type = dict.fromkeys(sorted(config.actions), 0)
        by_source: dict[str, dict[str, int]] = {}
        for (name, source), count in sorted(self.counts.items(), key=_source_first):
            by_type[name] += count
            by_source.setdefault(source, {})[name] = count
        return Redaction(
            documents_changed=self.num_documents,
            by_type=by_type,
            by_source=by_source,
            actions=dict(sorted(config.actions.items())),
        )


def _source_first(item: tuple[tuple[str, str], int]) -> tuple[str, str]:
    (name, source), _ = item
    return source, name


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Replace what redact.actions names. Unchanged documents are taken from the cache."""
    settings = pii.describe_settings(config.redact)
    kind = kind_of("redact", pii.CODE, settings, pii.LIBRARIES)
    tally = Tally()
    num_searched = 0
    with open_cache(paths.state_folder() / "work.sqlite", kind) as cache:
        keys = keys_of(inputs.converted, DOCUMENTS, KEY_COLUMNS, _key)
        new_rows = cache.missing_rows(inputs.converted, DOCUMENTS, keys)
        make = partial(_make_redactor, config.redact, os.environ.get(pii.KEY_VARIABLE))
        for key, value in work(config.engine, make, new_rows, DOCUMENTS_A_CALL):
            cache.put({key: value})
            num_searched += 1
        rows_with_values = cache.rows_with_values(inputs.converted, DOCUMENTS, keys)
        files.write_batches(outputs.documents, DOCUMENTS, _apply(rows_with_values, tally))
    rows = sorted(tally.rows, key=itemgetter("uri"))
    files.write(outputs.redactions, REDACTIONS, rows)
    files.write_json(outputs.redaction, tally.report(config.redact))
    print(
        f"{tally.counts.total()} occurrences in {tally.num_documents} documents "
        f"({num_searched} documents looked at, the others unchanged)"
    )


def _make_redactor(config: RedactConfig, secret: str | None) -> Work:
    """A function from (key, document) to (key, what changes in it, and what was replaced).

    `changed` is None if nothing does. The secret of `hash` goes to a cluster's processes with the
    work, never by the environment.
    """
    if secret is not None:
        os.environ[pii.KEY_VARIABLE] = secret
    redactor = pii.load(config)
    return lambda rows: [(key, _redact(redactor, row)) for key, row in rows]


def _redact(redactor: pii.Redactor, row: dict[str, Any]) -> dict[str, Any]:
    changes, replacements = pii.redact_document(redactor, row)
    is_unchanged = changes.items() <= row.items()
    return {"changed": None if is_unchanged else changes, "replacements": replacements}


def _key(row: dict[str, Any]) -> str:
    return files.text_digest(f"{row['digest']}\0{row['title'] or ''}")


def _apply(
    rows_with_values: Iterator[tuple[pa.RecordBatch, list[Any]]], tally: Tally
) -> Iterator[pa.RecordBatch]:
    """Batches of documents.parquet. Only rows that change become Python values."""
    for batch, values in rows_with_values:
        changes: dict[int, dict[str, Any]] = {}
        uris = batch.column("uri").to_pylist()
        sources = batch.column("source").to_pylist()
        for number, value in enumerate(values):
            tally.add(uris[number], sources[number], value["replacements"])
            if value["changed"]:
                changes[number] = value["changed"]
        yield _replace_rows(batch, changes)


def _replace_rows(batch: pa.RecordBatch, changes: dict[int, dict[str, Any]]) -> pa.RecordBatch:
    """The batch with these rows' columns replaced; `changes` are by the number of the row."""
    if not changes:
        return batch
    new_rows = []
    old_rows = batch.take(pa.array(changes, pa.int64())).to_pylist()
    for row, change in zip(old_rows, changes.values(), strict=True):
        new_rows.append(row | change | {"digest": files.text_digest(change["text"])})
    new_batch = pa.RecordBatch.from_pylist(new_rows, schema=batch.schema)
    positions = list(range(batch.num_rows))
    for offset, number in enumerate(changes):
        positions[number] = batch.num_rows + offset
    both = pa.concat_batches([batch, new_batch])
    return both.take(pa.array(positions, pa.int64()))
