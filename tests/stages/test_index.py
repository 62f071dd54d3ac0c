from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import files
from pipelines.config.index import IndexConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.errors import UserError
from pipelines.stages.index import Inputs, Outputs, run
from pipelines.vectorstore import open_index

CONFIG = IndexConfig(keep=1, verify_sample=1, hybrid_alpha=0.7, rerank_weight=0.8)
INPUTS = Inputs(chunks=Path("chunks.parquet"), vectors=Path("vectors.parquet"))
OUTPUTS = Outputs(index=Path("index.json"))


def test_the_receipt_opens_the_collection_and_a_second_run_writes_the_same_receipt(
    clone: Path,
) -> None:
    facts = {
        "encoder_model": "mini",
        "encoder_revision": "r1",
        "encoder_digest": "e1",
        "precision": "bf16",
        "dimensions": "2",
    }
    chunk: dict[str, Any] = {
        "doc_id": "c",
        "uri": "book/a.md",
        "title": "A",
        "headings": [],
        "table_head": None,
        "start": 0,
        "end": 5,
        "pages": [],
        "readers": ["everyone"],
        "num_tokens": 1,
        "digest": "x",
    }
    north = {**chunk, "chunk_id": "c-0", "text": "north"}
    east = {**chunk, "chunk_id": "c-1", "text": "east"}
    files.write(INPUTS.chunks, CHUNKS, [north, east])
    files.write(
        INPUTS.vectors,
        schema_of(2).with_metadata(facts),
        [{"chunk_id": "c-0", "vector": [0, 1]}, {"chunk_id": "c-1", "vector": [1, 0]}],
    )
    run(CONFIG, INPUTS, OUTPUTS)
    first_content = OUTPUTS.index.read_bytes()
    receipt = files.read_json(OUTPUTS.index, Receipt)
    assert receipt.num_objects == 2
    assert receipt.encoder.revision == "r1"
    assert receipt.encoder.precision == "bf16"
    with open_index(receipt, INPUTS.chunks, INPUTS.vectors) as index:
        passages = index.search("east", np.array([1.0, 0.1], dtype=np.float32), 2)
        assert [passage.text for passage in passages] == ["east", "north"]
        run(CONFIG, INPUTS, OUTPUTS)
    assert OUTPUTS.index.read_bytes() == first_content


def test_missing_vectors_are_an_error_with_the_command_that_makes_them_and_no_receipt_is_written(
    clone: Path,
) -> None:
    with pytest.raises(UserError, match=r"vectors\.parquet is missing: `dvc repro` makes it"):
        run(CONFIG, INPUTS, OUTPUTS)
    assert not OUTPUTS.index.exists()
