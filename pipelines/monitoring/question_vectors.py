"""Embeds questions; what any command has embedded before is not embedded again."""

import numpy as np

from pipelines import files, vectorstore
from pipelines.config.encoder import EncoderConfig
from pipelines.system import cache, paths
from pipelines.vectorstore import Vectors


def embed(config: EncoderConfig, texts: list[str]) -> Vectors:
    """Unit vectors, shape (texts, dimensions), in the order of `texts`."""
    folder = vectorstore.locate_encoder(config.model, config.revision)
    engine = vectorstore.resolve_engine("auto")
    precision = vectorstore.resolve_precision("auto")
    digests = {text: files.text_digest(text) for text in texts}
    kind = f"{files.digest(folder)}/{engine}/{precision}"
    path = paths.state_folder() / "vectors.sqlite"
    with cache.open_vector_cache(path, kind) as vectors:
        by_digest = vectors.get_many(digests.values())
        missing = sorted(text for text, digest in digests.items() if digest not in by_digest)
        if missing:
            encoder = vectorstore.load_encoder(folder, engine, precision)
            new_vectors: dict[str, Vectors] = {}
            for text, vector in zip(missing, encoder.encode(missing), strict=True):
                new_vectors[digests[text]] = vector
            vectors.put(new_vectors)
            by_digest |= new_vectors
    return np.stack([by_digest[digests[text]] for text in texts])
