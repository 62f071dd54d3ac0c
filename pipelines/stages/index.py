"""index: chunks and vectors -> a Weaviate collection named by their digest, and its receipt."""

from dataclasses import dataclass
from pathlib import Path

from pipelines import files
from pipelines.config.index import IndexConfig
from pipelines.vectorstore import build_index


@dataclass(frozen=True)
class Inputs:
    chunks: Path
    vectors: Path


@dataclass(frozen=True)
class Outputs:
    index: Path  # the receipt: enough to open, verify or rebuild the collection


def run(config: IndexConfig, inputs: Inputs, outputs: Outputs) -> None:
    """Fill and verify the collection."""
    receipt = build_index(
        inputs.chunks,
        inputs.vectors,
        keep=config.keep,
        sample=config.verify_sample,
        hybrid_alpha=config.hybrid_alpha,
    ).model_copy(update={"rerank_weight": config.rerank_weight})
    files.write_json(outputs.index, receipt)
