"""embed: chunks -> unit vectors. What was embedded before is taken from the cache."""

import time
from pathlib import Path

import numpy as np

from pipelines import encoding, files, place, vectorcache
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.contracts.chunks import CHUNKS, embedded_text
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.encoding import Encoder


def run(config: EmbedConfig, encoder: EncoderConfig, chunks: Path, vectors: Path, embedding: Path) -> None:
    """Embed every chunk's text with its headings; `embedding` counts what was reused and made."""
    loaded = encoding.load(encoding.locate(encoder.model, encoder.revision), config.precision, config.max_batch_tokens)
    texts = {row["digest"]: embedded_text(row["title"], row["headings"], row["text"]) for row in files.read(chunks, CHUNKS)}
    began = time.monotonic()
    with vectorcache.opened(place.shared_state() / "vectors.sqlite", f"{loaded.digest}/{loaded.precision}") as cache:
        missing = sorted(set(texts) - set(cache.get(texts)))
        _make(missing, texts, loaded, cache)
        seconds = time.monotonic() - began
        found = cache.get(texts)
    facts = {"encoder_model": encoder.model, "encoder_revision": encoder.revision or "", "encoder_digest": loaded.digest, "precision": loaded.precision, "dimensions": str(loaded.dimensions)}
    rows = ({"chunk_id": row["chunk_id"], "vector": found[row["digest"]].tolist()} for row in files.read(chunks, CHUNKS))
    count = files.write(vectors, schema_of(loaded.dimensions).with_metadata(facts), rows)
    files.write_json(embedding, {"chunks": count, "made": len(missing), "reused": count - len(missing), "seconds": round(seconds, 2), "precision": loaded.precision})
    print(f"{count} vectors: {len(missing)} made, {count - len(missing)} reused")


def _make(missing: list[str], texts: dict[str, str], encoder: Encoder, cache: vectorcache.Cache) -> None:
    for places, made in encoder.batches([texts[digest] for digest in missing], progress=True):
        assert np.isfinite(made).all(), "the encoder gave a vector that is not finite"
        cache.put([missing[place] for place in places], made)
