"""index: chunks and vectors -> a Weaviate collection named by their digest, and its receipt."""

from pathlib import Path

from pipelines import files
from pipelines.config.index import IndexConfig
from pipelines.vectorstore.collections import build


def run(config: IndexConfig, chunks: Path, vectors: Path, index: Path) -> None:
    """Fill and verify the collection; `index` is enough to open, verify or rebuild it."""
    files.write_json(index, build(chunks, vectors, keep=config.keep, sample=config.verify_sample, hybrid_alpha=config.hybrid_alpha))
