"""Show the passages that the index finds for a question."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipelines import files
from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.system import group_names
from pipelines.vectorstore import Passage, open_retriever

RECEIPT = Path("data/index.json")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")
RERANK_WEIGHT = 0.8  # of --rerank; tests/bench/test_retrieval.py measures it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question")
    parser.add_argument("--limit", type=int, default=5, help="passages to show (default: 5)")
    parser.add_argument(
        "--rerank",
        action="store_true",
        help="reorder the best passages word by word, as evaluate and the assistant do with "
        f"`index.rerank_weight: {RERANK_WEIGHT}` in params.yaml",
    )
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        help="search also what this group may read (may be given several times); without it only "
        "what everyone may read",
    )


def run(question: str, limit: int, rerank: bool = False, group: Sequence[str] = ()) -> None:
    """Print the passages that `evaluate` and the assistant would find, best first."""
    groups = group_names.parse("--group", group)
    if not question.strip() or limit < 1:
        raise UserError("search needs a question that is not empty and a limit of at least 1")
    receipt = files.read_json(RECEIPT, Receipt)
    if rerank:
        receipt = receipt.model_copy(update={"rerank_weight": RERANK_WEIGHT})
    with open_retriever(receipt, CHUNKS, VECTORS) as retriever:
        passages = retriever.find(question, limit, groups)
    for number, passage in enumerate(passages, start=1):
        print(f"\n{number}. {_source(passage)}   (similarity {passage.similarity:.2f})")
        print(passage.text)


def _source(passage: Passage) -> str:
    """Where a passage comes from: address, pages, headings."""
    pages = [_format_pages(passage.pages)] if passage.pages else []
    return " > ".join([passage.uri, *pages, *passage.headings])


def _format_pages(pages: tuple[int, ...]) -> str:
    first, last = pages[0], pages[-1]
    return f"page {first}" if first == last else f"page {first}-{last}"
