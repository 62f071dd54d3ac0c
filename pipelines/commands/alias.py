"""`python -m pipelines alias`: let the live name point at the index of this work tree, or back at the one before."""

from pathlib import Path

from pipelines import files
from pipelines.config import params
from pipelines.contracts.receipt import Receipt
from pipelines.vectorstore import aliases

RECEIPT, CHUNKS, VECTORS = Path("data/index.json"), Path("data/chunks.parquet"), Path("data/vectors.parquet")


def run(back: bool, show: bool) -> None:
    """Move index.alias of params.yaml in one call. A collection is verified, or rebuilt from its files, before it is named."""
    config = params.load().index
    if back and not show:
        now, before = aliases.back(config.alias)
        print(f"{config.alias} -> {now} (before: {before})")
        return
    if not show:
        aliases.point(config.alias, files.read_json(RECEIPT, Receipt), CHUNKS, VECTORS, config.verify_sample)
    current, previous = aliases.state(config.alias)
    print(f"{config.alias} -> {current or 'nothing yet'} (before: {previous or 'nothing'})")
