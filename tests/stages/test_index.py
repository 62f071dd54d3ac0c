from pathlib import Path

import numpy as np
import pytest

from pipelines import files
from pipelines.config.index import IndexConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.errors import UserError
from pipelines.stages.index import run
from pipelines.vectorstore import collections


def test_the_receipt_opens_the_collection_and_a_second_run_writes_the_same_receipt(clone: Path) -> None:
    facts = {"encoder_model": "mini", "encoder_revision": "r1", "encoder_digest": "e1", "precision": "bf16", "dimensions": "2"}
    chunk = {"doc_id": "c", "uri": "book/a.md", "title": "A", "headings": [], "start": 0, "end": 5, "pages": [], "num_tokens": 1, "digest": "x"}
    files.write(Path("chunks.parquet"), CHUNKS, [{**chunk, "chunk_id": "c-0", "text": "north"}, {**chunk, "chunk_id": "c-1", "text": "east"}])
    files.write(Path("vectors.parquet"), schema_of(2).with_metadata(facts), [{"chunk_id": "c-0", "vector": [0, 1]}, {"chunk_id": "c-1", "vector": [1, 0]}])
    config = IndexConfig(keep=1, verify_sample=1, hybrid_alpha=0.7)
    run(config, Path("chunks.parquet"), Path("vectors.parquet"), Path("index.json"))
    first = Path("index.json").read_bytes()
    receipt = files.read_json(Path("index.json"), Receipt)
    assert (receipt.num_objects, receipt.encoder.revision, receipt.encoder.precision) == (2, "r1", "bf16")
    with collections.opened(receipt, Path("chunks.parquet"), Path("vectors.parquet")) as index:
        assert [passage.text for passage in index.search("east", np.array([1.0, 0.1], dtype=np.float32), 2)] == ["east", "north"]
        run(config, Path("chunks.parquet"), Path("vectors.parquet"), Path("index.json"))
    assert Path("index.json").read_bytes() == first


def test_missing_vectors_are_told_with_the_command_that_makes_them_and_no_receipt_is_written(clone: Path) -> None:
    with pytest.raises(UserError, match=r"vectors\.parquet is missing: `dvc repro` makes it"):
        run(IndexConfig(keep=1, verify_sample=1, hybrid_alpha=0.7), Path("chunks.parquet"), Path("vectors.parquet"), Path("index.json"))
    assert not Path("index.json").exists()
