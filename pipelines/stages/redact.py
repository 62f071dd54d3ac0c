"""redact: documents as they were read -> documents without personal data, and a report of counts that holds no value."""

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines import files, pii, place, workcache
from pipelines.config.engine import EngineConfig
from pipelines.config.redact import RedactConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.engine import LOCAL, Work, work

DOCUMENTS_A_CALL = 16  # that one process of a cluster works on at a time
DECIDING = ["digest", "title"]  # of a document: what its finds depend on


def run(config: RedactConfig, converted: Path, documents: Path, redaction: Path, engine: EngineConfig = LOCAL) -> None:
    """Replace what redact.actions names. A document that has not changed is taken from the cache."""
    kind = workcache.kind("redact", pii.CODE, pii.settings(config), pii.LIBRARIES)
    totals: Counter[tuple[str, str]] = Counter()
    touched: Counter[str] = Counter()
    num_done = 0
    with workcache.opened(place.shared_state() / "work.sqlite", kind) as cache:
        keys = workcache.keys_of(converted, DOCUMENTS, DECIDING, _key)
        for key, value in work(engine, partial(_redactor, config, os.environ.get(pii.KEY_VARIABLE)), cache.to_do(converted, DOCUMENTS, keys), DOCUMENTS_A_CALL):
            cache.put({key: value})
            num_done += 1
        files.write_batches(documents, DOCUMENTS, _batches(cache.done(converted, DOCUMENTS, keys), totals, touched))
    types = {name: sum(count for (kind_, _), count in totals.items() if kind_ == name) for name in sorted(config.actions)}
    sources = sorted({source for _, source in totals})
    by_source = {source: {name: totals[name, source] for name in sorted(config.actions) if totals[name, source]} for source in sources}
    counts = {"documents_changed": sum(touched.values()), "by_type": types, "by_source": by_source, "actions": dict(sorted(config.actions.items()))}
    files.write_json(redaction, counts)
    print(f"{sum(types.values())} finds in {sum(touched.values())} documents ({num_done} documents looked at, the others unchanged)")


def _redactor(config: RedactConfig, secret: str | None) -> Work:
    """Gives (key, what changes in the document, None for nothing) for (key, document); the secret of `hash` goes to a cluster's processes with the work, never by the environment."""
    if secret is not None:
        os.environ[pii.KEY_VARIABLE] = secret
    redactor = pii.load(config)

    def redacted(rows: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
        found = [(key, row, *pii.document(redactor, row)) for key, row in rows]
        return [(key, {"changed": None if changed.items() <= row.items() else changed, "counts": dict(sorted(counts.items()))}) for key, row, changed, counts in found]

    return redacted


def _key(row: dict[str, Any]) -> str:
    return files.text_digest(f"{row['digest']}\0{row['title'] or ''}")


def _batches(done: Iterator[tuple[pa.RecordBatch, list[Any]]], totals: Counter[tuple[str, str]], touched: Counter[str]) -> Iterator[pa.RecordBatch]:
    """Batches of documents.parquet. Only rows that change become Python values."""
    for batch, values in done:
        for source, value in zip(batch.column("source").to_pylist(), values, strict=True):
            for name, count in value["counts"].items():
                totals[name, source] += count
            touched[source] += bool(value["counts"])
        yield _changed(batch, {number: value["changed"] for number, value in enumerate(values) if value["changed"]})


def _changed(batch: pa.RecordBatch, changes: dict[int, dict[str, Any]]) -> pa.RecordBatch:
    """The batch with these rows' columns replaced."""
    if not changes:
        return batch
    rows = batch.take(pa.array(changes, pa.int64())).to_pylist()
    new = [{**row, **changed, "digest": files.text_digest(changed["text"])} for row, changed in zip(rows, changes.values(), strict=True)]
    place = {number: batch.num_rows + order for order, number in enumerate(changes)}
    both = pa.concat_batches([batch, pa.RecordBatch.from_pylist(new, schema=batch.schema)])
    return both.take(pa.array([place.get(number, number) for number in range(batch.num_rows)], pa.int64()))
