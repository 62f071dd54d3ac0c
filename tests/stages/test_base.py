from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import MambaConfig

from pipelines import files
from pipelines.config.base import BaseConfig, MadeModel
from pipelines.contracts.base_receipt import BaseReceipt
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Check, Report
from pipelines.errors import Refusal, UserError
from pipelines.stages import base

TINY = MadeModel(
    vocabulary_size=400,
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    num_tokens=2000,
    sequence_length=16,
    batch_size=2,
    learning_rate=0.001,
)
DOCUMENT: dict[str, object] = {
    "doc_id": "5b0c3f8e9a1d2c47",
    "uri": "handbook/model.md",
    "title": None,
    "text": "Documents make a small model. " * 40,
    "sections": [],
    "pages": [],
    "media_type": "text/markdown",
    "source": "handbook",
    "digest": "",
    "content_digest": "",
    "language": "en",
    "aliases": [],
    "readers": ["everyone"],
}


def run(
    folder: Path, source: str, is_valid: bool = True, more: Sequence[dict[str, Any]] = ()
) -> Path:
    """The model folder that the stage writes, of DOCUMENT and more."""
    inputs = base.Inputs(folder / "documents.parquet", folder / "validation.json")
    files.write(inputs.documents, DOCUMENTS, [DOCUMENT, *more])
    check = Check(name="number of documents", passed=is_valid, observed="1", expected="at least 1")
    files.write_json(inputs.validation, Report.of([check]))
    config = BaseConfig(source=source, revision=None, seed=7, made=TINY)
    outputs = base.Outputs(folder / "base")
    base.run(config, inputs, outputs)
    return outputs.base


def test_the_same_documents_for_everyone_make_the_same_model_with_its_receipt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = files.digest(run(tmp_path, "made"))
    secret = {**DOCUMENT, "doc_id": "secret", "text": "The merger is on Monday. " * 40}
    assert files.digest(run(tmp_path, "made", more=[{**secret, "readers": ["board"]}])) == first
    receipt = files.read_json(tmp_path / "base/receipt.json", BaseReceipt)
    assert (receipt.source, receipt.revision, receipt.max_positions) == ("made", None, 2048)
    assert f"base model: {receipt.summary()}" in capsys.readouterr().out


def test_a_model_of_an_earlier_run_can_be_the_source(tmp_path: Path) -> None:
    made = run(tmp_path, "made").rename(tmp_path / "mine")
    copied = run(tmp_path, str(made))
    receipt = files.read_json(copied / "receipt.json", BaseReceipt)
    assert receipt.source == "folder:mine"
    assert files.digest(copied / "model.safetensors") == files.digest(made / "model.safetensors")


def test_an_unfit_model_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    before = files.digest(run(tmp_path, "made"))
    MambaConfig(architectures=["MambaForCausalLM"]).save_pretrained(tmp_path / "mamba")
    with pytest.raises(UserError, match="mamba is stateful"):
        run(tmp_path, str(tmp_path / "mamba"))
    assert files.digest(tmp_path / "base") == before


def test_documents_that_were_refused_make_no_model(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="number of documents"):
        run(tmp_path, "made", is_valid=False)
    assert not (tmp_path / "base").exists()
