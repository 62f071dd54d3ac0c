"""`python -m pipelines search "words"`: the passages that the index finds for a question."""

from pathlib import Path

from pipelines import encoding, files
from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.vectorstore.collections import opened

RECEIPT, CHUNKS, VECTORS = Path("data/index.json"), Path("data/chunks.parquet"), Path("data/vectors.parquet")


def run(question: str, limit: int) -> None:
    """Print the passages that `evaluate` and the assistant would find for the question, best first."""
    if not question.strip() or limit < 1:
        raise UserError("search needs a question that is not empty and a limit of at least 1")
    receipt = files.read_json(RECEIPT, Receipt)
    encoder = encoding.load(encoding.locate(receipt.encoder.model, receipt.encoder.revision), "fp32", 16384)
    with opened(receipt, CHUNKS, VECTORS) as live:
        for number, passage in enumerate(live.search(question, encoder.encode([question])[0], limit), start=1):
            pages = [f"page {'-'.join(map(str, sorted({passage.pages[0], passage.pages[-1]})))}"] if passage.pages else []
            where = " > ".join([passage.uri, *pages, *passage.headings])
            print(f"\n{number}. {where}   (similarity {passage.similarity:.2f})\n{passage.text}")
