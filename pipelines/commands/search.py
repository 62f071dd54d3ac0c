"""`python -m pipelines search "words"`: the passages that the index finds for a question."""

from pathlib import Path

from pipelines import encoding, files
from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.reranking import Reranker
from pipelines.vectorstore.collections import opened

RECEIPT, CHUNKS, VECTORS = Path("data/index.json"), Path("data/chunks.parquet"), Path("data/vectors.parquet")


CANDIDATES = 30  # passages that --rerank puts into a new order


def run(question: str, limit: int, rerank: bool = False) -> None:
    """Print the passages that `evaluate` and the assistant would find for the question, best first; with `rerank`, in an order by single words, which they do not use."""
    if not question.strip() or limit < 1:
        raise UserError("search needs a question that is not empty and a limit of at least 1")
    receipt = files.read_json(RECEIPT, Receipt)
    encoder = encoding.load(encoding.locate(receipt.encoder.model, receipt.encoder.revision), "fp32", 16384)
    with opened(receipt, CHUNKS, VECTORS) as live:
        found = live.search(question, encoder.encode([question])[0], max(limit, CANDIDATES) if rerank else limit)
    if rerank:
        found = [found[place] for place in Reranker(encoder).order(question, [" > ".join(passage.headings) + "\n" + passage.text for passage in found])]
    for number, passage in enumerate(found[:limit], start=1):
        pages = [f"page {'-'.join(map(str, sorted({passage.pages[0], passage.pages[-1]})))}"] if passage.pages else []
        where = " > ".join([passage.uri, *pages, *passage.headings])
        print(f"\n{number}. {where}   (similarity {passage.similarity:.2f})\n{passage.text}")
