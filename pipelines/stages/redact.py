"""redact: documents as they were read -> documents without personal data, and a report of counts that holds no value."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import files, pii, place, workcache
from pipelines.config.redact import RedactConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.pii import Redactor
from pipelines.workcache import Cache

BATCH = 256  # documents looked up in the cache at once


def run(config: RedactConfig, converted: Path, documents: Path, redaction: Path) -> None:
    """Replace what redact.actions names. A document that has not changed is taken from the cache."""
    kind = workcache.kind("redact", pii.CODE, pii.settings(config), pii.LIBRARIES)
    totals: Counter[tuple[str, str]] = Counter()
    touched: Counter[str] = Counter()
    with workcache.opened(place.shared_state() / "work.sqlite", kind) as cache:
        work = _Work(config, cache)
        files.write(documents, DOCUMENTS, _rows(converted, work, totals, touched))
    types = {name: sum(count for (kind_, _), count in totals.items() if kind_ == name) for name in sorted(config.actions)}
    sources = sorted({source for _, source in totals})
    by_source = {source: {name: totals[name, source] for name in sorted(config.actions) if totals[name, source]} for source in sources}
    counts = {"documents_changed": sum(touched.values()), "by_type": types, "by_source": by_source, "actions": dict(sorted(config.actions.items()))}
    files.write_json(redaction, counts)
    print(f"{sum(types.values())} finds in {sum(touched.values())} documents ({work.num_done} documents looked at, the others unchanged)")


class _Work:
    """The redactor, loaded for the first document that the cache does not have."""

    def __init__(self, config: RedactConfig, cache: Cache):
        self._config, self.cache, self.num_done = config, cache, 0
        self._redactor: Redactor | None = None

    def result(self, row: dict[str, Any], key: str) -> dict[str, Any]:
        self._redactor = self._redactor or pii.load(self._config)
        changed, counts = pii.document(self._redactor, row)
        value = {"changed": changed, "counts": dict(sorted(counts.items()))}
        self.cache.put({key: value})
        self.num_done += 1
        return value


def _rows(converted: Path, work: _Work, totals: Counter[tuple[str, str]], touched: Counter[str]) -> Iterator[dict[str, Any]]:
    held: list[dict[str, Any]] = []
    for row in files.read(converted, DOCUMENTS):
        held.append(row)
        if len(held) == BATCH:
            yield from _redacted(held, work, totals, touched)
            held = []
    yield from _redacted(held, work, totals, touched)


def _redacted(rows: list[dict[str, Any]], work: _Work, totals: Counter[tuple[str, str]], touched: Counter[str]) -> Iterator[dict[str, Any]]:
    keys = [files.text_digest(f"{row['digest']}\0{row['title'] or ''}") for row in rows]
    known = work.cache.many(keys)
    for row, key in zip(rows, keys, strict=True):
        value = known.get(key) or work.result(row, key)
        for name, count in value["counts"].items():
            totals[name, row["source"]] += count
        touched[row["source"]] += bool(value["counts"])
        yield {**row, **value["changed"], "digest": files.text_digest(value["changed"]["text"])}
