"""survey: what ingest, redact, validate, chunk and embed made -> one HTML page on which a bad source is seen at a glance."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import files, survey
from pipelines.config.survey import SurveyConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.report import Report
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.survey import Point


def run(config: SurveyConfig, documents: Path, rejections: Path, chunks: Path, vectors: Path, validation: Path, redaction: Path, corpus: Path) -> None:
    """Write the page. Passages beyond survey.max_points are left out by lot, the same at every run."""
    rows = [_described(row) for row in files.read(documents, DOCUMENTS)]
    num_chunks = sum(1 for _ in files.read(chunks, CHUNKS))
    chosen = set(random.Random(config.seed).sample(range(num_chunks), min(config.max_points, num_chunks)))
    points = _points(chunks, vectors, chosen, {row["doc_id"]: row["source"] for row in rows}, config.seed)
    rejected = list(files.read(rejections, REJECTIONS))
    files.write_text(corpus, survey.page(rows, rejected, num_chunks, points, files.read_json(validation, Report), json.loads(redaction.read_text())))
    print(f"{len(rows)} documents and {len(points)} of {num_chunks} passages on the page")


def _described(row: dict[str, Any]) -> dict[str, Any]:
    return {**{name: row[name] for name in ("doc_id", "uri", "source", "media_type", "language", "aliases")}, "characters": len(row["text"])}


def _points(chunks: Path, vectors: Path, chosen: set[int], sources: dict[str, str], seed: int) -> list[Point]:
    schema = schema_of(int(files.metadata(vectors)["dimensions"]))
    held = [(chunk, vector["vector"]) for number, (chunk, vector) in enumerate(zip(files.read(chunks, CHUNKS), files.read(vectors, schema), strict=True)) if number in chosen]
    if not held:
        return []
    where = survey.places(np.array([vector for _, vector in held], dtype=np.float32), seed)
    return [
        Point(round(float(x), 1), round(float(y), 1), sources[chunk["doc_id"]], f"{' > '.join([chunk['uri'], *chunk['headings']])}\n{' '.join(chunk['text'].split())[:240]}")
        for (chunk, _), (x, y) in zip(held, where, strict=True)
    ]
