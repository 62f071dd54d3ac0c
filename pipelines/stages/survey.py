"""survey: everything about the corpus -> one HTML page that shows a bad source at a glance."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import files
from pipelines.config.survey import SurveyConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.left_out import LEFT_OUT
from pipelines.contracts.report import Report
from pipelines.contracts.vectors import vectors as vectors_schema
from pipelines.corpus import losses
from pipelines.corpus.corpus_page import Corpus, Point, lay_out, render_corpus

LABEL_CHARACTERS = 240  # of a passage, shown on the map
COLUMNS = ("doc_id", "uri", "source", "media_type", "language", "aliases")


@dataclass(frozen=True)
class Inputs:
    documents: Path
    rejections: Path
    left_out: Path
    chunks: Path
    vectors: Path
    validation: Path
    redaction: Path


@dataclass(frozen=True)
class Outputs:
    corpus: Path  # the page


def run(config: SurveyConfig, inputs: Inputs, outputs: Outputs) -> None:
    """Write the page. Of more than survey.max_points passages, a sample is on the map."""
    documents = list(map(_describe, files.read(inputs.documents, DOCUMENTS)))
    num_chunks = files.count(inputs.chunks)
    points = _sample_points(config, inputs, documents, num_chunks)
    corpus = Corpus(
        documents=documents,
        rejections=list(files.read(inputs.rejections, REJECTIONS)),
        losses=losses.by_document(files.read(inputs.left_out, LEFT_OUT)),
        num_chunks=num_chunks,
        points=points,
        report=files.read_json(inputs.validation, Report),
        redaction=json.loads(inputs.redaction.read_text()),
    )
    files.write_text(outputs.corpus, render_corpus(corpus))
    print(f"{len(documents)} documents and {len(points)} of {num_chunks} passages on the page")


def _describe(row: dict[str, Any]) -> dict[str, Any]:
    """A document without its text."""
    columns = {name: row[name] for name in COLUMNS}
    return columns | {"characters": len(row["text"])}


def _sample_points(
    config: SurveyConfig, inputs: Inputs, documents: list[dict[str, Any]], num_chunks: int
) -> list[Point]:
    """The passages on the map, sampled at random; the seed makes the sample the same every time."""
    sources = {row["doc_id"]: row["source"] for row in documents}
    num_points = min(config.max_points, num_chunks)
    sample = set(random.Random(config.seed).sample(range(num_chunks), num_points))
    chunks, vectors = _read_sample(inputs, sample)
    if not chunks:
        return []
    layout = lay_out(np.array(vectors, dtype=np.float32), config.seed)
    points = []
    for chunk, (x, y) in zip(chunks, layout, strict=True):
        source = sources[chunk["doc_id"]]
        points.append(Point(round(float(x), 1), round(float(y), 1), source, _label(chunk)))
    return points


def _read_sample(
    inputs: Inputs, sample: set[int]
) -> tuple[list[dict[str, Any]], list[list[float]]]:
    """The chunks with these numbers, and their vectors."""
    schema = vectors_schema(int(files.metadata(inputs.vectors)["dimensions"]))
    all_chunks = files.read(inputs.chunks, CHUNKS)
    all_vectors = files.read(inputs.vectors, schema)
    chunks = []
    vectors = []
    for number, (chunk, row) in enumerate(zip(all_chunks, all_vectors, strict=True)):
        if number in sample:
            chunks.append(chunk)
            vectors.append(row["vector"])
    return chunks, vectors


def _label(chunk: dict[str, Any]) -> str:
    path = " > ".join([chunk["uri"], *chunk["headings"]])
    text = " ".join(chunk["text"].split())
    return f"{path}\n{text[:LABEL_CHARACTERS]}"
