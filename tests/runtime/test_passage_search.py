import socket
from pathlib import Path

import numpy as np
import pytest

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.runtime.passage_search import Index, Query, SearchError
from pipelines.vectorstore import build_index, open_index, server_address

FACTS = {
    "encoder_model": "mini",
    "encoder_revision": "",
    "encoder_digest": "e1",
    "precision": "fp32",
    "dimensions": "3",
}


def test_an_address_that_is_missing_or_wrong_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("", "weaviate:8080"):
        monkeypatch.setenv("WEAVIATE_URL", url)
        with pytest.raises(SearchError, match="WEAVIATE_URL: .* is not a valid URL"):
            Index("Chunks_1", 1.0)


def test_a_server_that_is_gone_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WEAVIATE_URL", f"http://127.0.0.1:{probe.getsockname()[1]}")
        with pytest.raises(SearchError, match="the knowledge index cannot be reached: "):
            Index("Chunks_1", 1.0).search(Query("q", [0.1], 1.0), 3)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.7, 1.0])
def test_triton_and_the_client_find_the_same_passages_in_the_same_order_with_the_same_scores(
    serving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alpha: float
) -> None:
    texts = {
        'the "old" harbour': [1.0, 0.0, 0.0],
        "the lighthouse at the harbour": [0.8, 0.6, 0.0],
        "a lighthouse on the cape": [0.6, 0.0, 0.8],
        "the mountain": [0.0, 1.0, 0.0],
    }
    rows = [
        {"chunk_id": f"c-{number}", "doc_id": "c", "uri": f"book/{number}.md", "title": "Harbour",
         "headings": ["Lighthouse", "Book"], "table_head": "| Sight |" if number == 1 else None,
         "text": text, "start": number, "end": number + 9, "pages": [number, number + 1],
         "readers": ["everyone"], "num_tokens": 3, "digest": text}
        for number, text in enumerate(texts)
    ]  # fmt: skip
    vector_rows = [
        {"chunk_id": f"c-{number}", "vector": vector}
        for number, vector in enumerate(texts.values())
    ]
    chunks, vectors = tmp_path / "chunks.parquet", tmp_path / "vectors.parquet"
    files.write(chunks, CHUNKS, rows)
    files.write(vectors, schema_of(3).with_metadata(FACTS), vector_rows)
    question = 'where is the "old" lighthouse?\n'
    question_vector = np.array([0.96, 0.28, 0.0], dtype=np.float32)

    receipt = build_index(chunks, vectors, keep=1, sample=4, hybrid_alpha=alpha)
    with open_index(receipt, chunks, vectors) as index:
        by_client = index.search(question, question_vector, 3)
    with server_address() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        triton_index = Index(receipt.collection, 10.0)
        by_triton = triton_index.search(Query(question, question_vector.tolist(), alpha), 3)

    assert len(by_triton) == 3
    assert "| Sight |\nthe lighthouse at the harbour" in [passage.text for passage in by_client]
    for triton_passage, passage in zip(by_triton, by_client, strict=True):
        assert triton_passage["chunk_id"] == passage.chunk_id
        assert triton_passage["score"] == pytest.approx(passage.similarity, abs=1e-6)
        assert triton_passage["uri"] == passage.uri
        assert triton_passage["headings"] == passage.headings
        assert triton_passage["text"] == passage.text
        assert tuple(triton_passage["pages"]) == passage.pages
        assert triton_passage["end"] == triton_passage["start"] + 9
