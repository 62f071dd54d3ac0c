"""embed: chunks -> unit vectors. What was embedded before is taken from the cache."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines import files
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.engine import EngineConfig
from pipelines.contracts.chunks import CHUNKS, embedded_text
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.system import model_cards, paths
from pipelines.system.cache import Cache, open_vector_cache
from pipelines.system.engine import Work, work
from pipelines.vectorstore import (
    Encoder,
    Vectors,
    load_encoder,
    locate_encoder,
    resolve_engine,
    resolve_precision,
)

ROWS_A_LOOKUP = 1024  # passages looked up in the cache at once
BATCHES_A_CALL = 8  # of texts, that one process of a cluster encodes at a time


@dataclass(frozen=True)
class Config:
    embed: EmbedConfig
    encoder: EncoderConfig
    engine: EngineConfig


@dataclass(frozen=True)
class Inputs:
    chunks: Path


@dataclass(frozen=True)
class Outputs:
    vectors: Path
    embedding: Path  # counts what was reused and made


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Embed every chunk's text with its headings.

    The encoder is not loaded if all vectors are in the cache.
    """
    folder = locate_encoder(config.encoder.model, config.encoder.revision)
    digest = files.digest(folder)
    engine = resolve_engine(config.embed.engine)
    precision = resolve_precision(config.embed.precision)
    path = paths.state_folder() / "vectors.sqlite"
    with open_vector_cache(path, f"{digest}/{engine}/{precision}") as cache:
        texts = _missing_texts(inputs.chunks, cache)
        dimensions = _dimensions(cache)
        seconds = 0.0
        if texts or not dimensions:
            encoder = load_encoder(folder, engine, precision, config.embed.max_batch_tokens)
            dimensions = encoder.dimensions
            start = time.monotonic()
            _fill(cache, texts, encoder, config)
            seconds = time.monotonic() - start
        facts = {
            "encoder_model": config.encoder.model,
            "encoder_revision": config.encoder.revision or "",
            "encoder_licence": model_cards.licence(folder) or "",
            "encoder_digest": digest,
            "engine": engine,
            "precision": precision,
            "dimensions": str(dimensions),
        }
        schema = schema_of(dimensions).with_metadata(facts)
        rows = _rows(inputs.chunks, cache, schema)
        # A dictionary of floats would take four times as long and 40 % more bytes.
        count = files.write_batches(outputs.vectors, schema, rows, values_recur=False)
    num_reused = count - len(texts)
    report = {
        "chunks": count,
        "made": len(texts),
        "reused": num_reused,
        "seconds": round(seconds, 2),
        "engine": engine,
        "precision": precision,
    }
    files.write_json(outputs.embedding, report)
    print(f"{count} vectors: {len(texts)} made, {num_reused} reused")


def _missing_texts(chunks: Path, cache: Cache[Vectors]) -> dict[str, str]:
    """Digest -> text of every passage whose vector is not in the cache.

    Only these are held in memory.
    """
    texts: dict[str, str] = {}
    for batch in files.batches(chunks, CHUNKS, ROWS_A_LOOKUP):
        digests = batch.column("digest").to_pylist()
        present = cache.present(digests)
        missing = [number for number, digest in enumerate(digests) if digest not in present]
        for row in batch.take(pa.array(missing, pa.int64())).to_pylist():
            texts[row["digest"]] = embedded_text(
                row["title"], row["headings"], row["text"], row["table_head"]
            )
    return texts


def _dimensions(cache: Cache[Vectors]) -> int:
    """Of the vectors in the cache; 0 if there is none."""
    vector = cache.sample()
    return len(vector) if vector is not None else 0


def _fill(cache: Cache[Vectors], texts: dict[str, str], encoder: Encoder, config: Config) -> None:
    """Embed texts, given by their digests, and keep the vectors batch by batch."""
    digests = sorted(texts)
    ordered_texts = [texts[digest] for digest in digests]
    if config.engine.kind == "local":
        batches = encoder.batches(ordered_texts, progress=True)
    else:
        batches = _encode_elsewhere(ordered_texts, encoder, config)
    for positions, vectors in batches:
        assert np.isfinite(vectors).all(), "the encoder gave a vector that is not finite"
        batch_digests = [digests[position] for position in positions]
        cache.put(dict(zip(batch_digests, vectors, strict=True)))


def _rows(chunks: Path, cache: Cache[Vectors], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches of vectors.parquet."""
    vector_type = schema.field("vector").type
    for batch in files.batches(chunks, CHUNKS, ROWS_A_LOOKUP):
        digests = batch.column("digest").to_pylist()
        vectors = cache.get_many(digests)
        values = pa.array(np.concatenate([vectors[digest] for digest in digests]))
        column = pa.FixedSizeListArray.from_arrays(values, type=vector_type)
        yield pa.RecordBatch.from_arrays([batch.column("chunk_id"), column], schema=schema)


def _encode_elsewhere(
    texts: list[str], encoder: Encoder, config: Config
) -> Iterator[tuple[list[int], Vectors]]:
    """(positions in `texts`, their vectors) from the engine's processes.

    They encode the batches that this machine would encode.
    """
    batches: list[tuple[list[int], list[str]]] = []
    for positions in encoder.plan(texts):
        batches.append((positions, [texts[position] for position in positions]))
    exact = config.embed.model_copy(
        update={"engine": encoder.engine, "precision": encoder.precision}
    )
    make = partial(_make_encode, config.encoder, exact)
    yield from work(config.engine, make, batches, BATCHES_A_CALL)


def _make_encode(encoder_config: EncoderConfig, config: EmbedConfig) -> Work:
    """What one process does: (positions, texts) -> (positions, vectors)."""
    folder = locate_encoder(encoder_config.model, encoder_config.revision)
    encoder = load_encoder(
        folder, config.engine, config.precision, config.max_batch_tokens, num_streams=1
    )
    return lambda batches: [(positions, encoder.vectors(texts)) for positions, texts in batches]
