"""embed: chunks -> unit vectors. What was embedded before is taken from the cache."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines import encoding, files, place, vectorcache
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.engine import EngineConfig
from pipelines.contracts.chunks import CHUNKS, embedded_text
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.encoding import Encoder, Vectors
from pipelines.engine import LOCAL, Work, work

BATCH = 1024  # passages looked up in the cache at once
BATCHES_A_CALL = 8  # of texts, that one process of a cluster encodes at a time


def run(config: EmbedConfig, encoder: EncoderConfig, chunks: Path, vectors: Path, embedding: Path, engine: EngineConfig = LOCAL) -> None:
    """Embed every chunk's text with its headings; `embedding` counts what was reused and made. Where nothing is to be made, the encoder is not loaded."""
    folder = encoding.locate(encoder.model, encoder.revision)
    digest, precision = files.digest(folder), encoding.chosen_precision(config.precision)
    with vectorcache.opened(place.shared_state() / "vectors.sqlite", f"{digest}/{precision}") as cache:
        texts, dimensions = _missing(chunks, cache), cache.dimensions()
        loaded = encoding.load(folder, precision, config.max_batch_tokens) if texts or not dimensions else None
        began = time.monotonic()
        if loaded:
            dimensions = loaded.dimensions
            missing = sorted(texts)
            wanted = [texts[name] for name in missing]
            made = loaded.batches(wanted, progress=True) if engine.kind == "local" else _elsewhere(engine, encoder, config, loaded, wanted)
            for places, found in made:
                assert np.isfinite(found).all(), "the encoder gave a vector that is not finite"
                cache.put([missing[place] for place in places], found)
        seconds = time.monotonic() - began
        facts = {"encoder_model": encoder.model, "encoder_revision": encoder.revision or "", "encoder_digest": digest, "precision": precision, "dimensions": str(dimensions)}
        schema = schema_of(dimensions).with_metadata(facts)
        count = files.write_batches(vectors, schema, _rows(chunks, cache, schema), values_recur=False)  # a dictionary of floats takes four times as long and 40 % more bytes
    files.write_json(embedding, {"chunks": count, "made": len(texts), "reused": count - len(texts), "seconds": round(seconds, 2), "precision": precision})
    print(f"{count} vectors: {len(texts)} made, {count - len(texts)} reused")


def _missing(chunks: Path, cache: vectorcache.Cache) -> dict[str, str]:
    """Digest -> text of every passage whose vector is not in the cache. Only these are held in memory."""
    found: dict[str, str] = {}
    for batch in files.batches(chunks, CHUNKS, BATCH):
        digests = batch.column("digest").to_pylist()
        known = cache.known(digests)
        missing = [number for number, digest in enumerate(digests) if digest not in known]
        found |= {row["digest"]: embedded_text(row["title"], row["headings"], row["text"]) for row in batch.take(pa.array(missing, pa.int64())).to_pylist()}
    return found


def _rows(chunks: Path, cache: vectorcache.Cache, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches of vectors.parquet."""
    for batch in files.batches(chunks, CHUNKS, BATCH):
        digests = batch.column("digest").to_pylist()
        known = cache.get(digests)
        values = pa.array(np.concatenate([known[digest] for digest in digests]))
        yield pa.RecordBatch.from_arrays([batch.column("chunk_id"), pa.FixedSizeListArray.from_arrays(values, type=schema.field("vector").type)], schema=schema)


def _elsewhere(engine: EngineConfig, encoder: EncoderConfig, config: EmbedConfig, loaded: Encoder, texts: list[str]) -> Iterator[tuple[list[int], Vectors]]:
    """(positions in `texts`, their vectors) from the engine's processes, in the batches that this machine would encode."""
    batches = ((places, [texts[place] for place in places]) for places in loaded.plan(texts))
    exact = config.model_copy(update={"precision": loaded.precision})
    yield from work(engine, partial(_encoder, encoder, exact), batches, BATCHES_A_CALL)


def _encoder(encoder: EncoderConfig, config: EmbedConfig) -> Work:
    import torch

    torch.set_num_threads(1)  # as each of this machine's threads has one
    loaded = encoding.load(encoding.locate(encoder.model, encoder.revision), config.precision, config.max_batch_tokens)
    return lambda batches: [(places, loaded.vectors(texts)) for places, texts in batches]
