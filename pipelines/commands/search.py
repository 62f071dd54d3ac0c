"""Show the passages that the index finds for a question."""

import argparse
from pathlib import Path

from pipelines import files
from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.vectorstore import (
    Passage,
    Reranker,
    load_encoder,
    locate_encoder,
    open_index,
)

RECEIPT = Path("data/index.json")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")
NUM_CANDIDATES = 30  # passages that --rerank puts into a new order
MAX_BATCH_TOKENS = 16384


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question")
    parser.add_argument("--limit", type=int, default=5, help="passages to show (default: 5)")
    parser.add_argument(
        "--rerank",
        action="store_true",
        help=f"reorder the best {NUM_CANDIDATES} word by word (evaluate and the assistant do not)",
    )


def run(question: str, limit: int, rerank: bool = False) -> None:
    """Print the passages that `evaluate` and the assistant would find, best first."""
    if not question.strip() or limit < 1:
        raise UserError("search needs a question that is not empty and a limit of at least 1")
    receipt = files.read_json(RECEIPT, Receipt)
    folder = locate_encoder(receipt.encoder.model, receipt.encoder.revision)
    encoder = load_encoder(folder, "fp32", MAX_BATCH_TOKENS)
    (vector,) = encoder.encode([question])
    num_candidates = max(limit, NUM_CANDIDATES) if rerank else limit
    with open_index(receipt, CHUNKS, VECTORS) as index:
        passages = index.search(question, vector, num_candidates)
    if rerank:
        passages = Reranker(encoder).reorder(question, passages)
    for number, passage in enumerate(passages[:limit], start=1):
        print(f"\n{number}. {_source(passage)}   (similarity {passage.similarity:.2f})")
        print(passage.text)


def _source(passage: Passage) -> str:
    """Where a passage comes from: address, pages, headings."""
    pages = [_format_pages(passage.pages)] if passage.pages else []
    return " > ".join([passage.uri, *pages, *passage.headings])


def _format_pages(pages: tuple[int, ...]) -> str:
    first, last = pages[0], pages[-1]
    return f"page {first}" if first == last else f"page {first}-{last}"
