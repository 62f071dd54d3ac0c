"""Write the reading set (data/qa/reading) anew from the sample's questions and index.

For those who maintain the sample: run it after questions of data/qa or the sample's documents have
changed and `dvc repro index` has run. Only questions and passages of the repository's own pages are
taken, since the files are tracked by Git: texts of others are not ours to copy.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.questions import consistency, reading_set
from pipelines.questions.document_questions import DocumentQuestion, contains
from pipelines.questions.reading_examples import Source
from pipelines.questions.reading_set import Hit
from pipelines.runtime import readers
from pipelines.vectorstore import Retriever, open_retriever

RECEIPT = Path("data/index.json")
CHUNKS_FILE = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")
OWN_SOURCES = ("handbook", "faq")
NUM_CANDIDATES = 20  # passages retrieved for a question
NUM_TRAINING = 6  # of these, kept for a training question: enough to leave the evidence out
NUM_GOLDEN = 4


def run() -> None:
    """Raises UserError if the questions cannot be read, or the index has none of their pages."""
    questions = consistency.read(Path("data/faq"), Path("data/golden"), Path("data/qa"))
    documents = questions.documents
    by_page = _passages_by_page()
    training = [question for question in documents.training if _is_own(question.page)]
    golden = [question for question in documents.golden if _is_own(question.page)]
    items = [*training, *golden]
    _require_pages(items, by_page)
    hidden_pages = questions.unseen_pages()
    writer = reading_set.Writer()
    receipt = files.read_json(RECEIPT, Receipt)
    with open_retriever(receipt, CHUNKS_FILE, VECTORS) as retriever:
        retriever.prepare([item.question for item in items], NUM_CANDIDATES)
        for question in training:
            hits = _visible(_find(question, retriever), hidden_pages)
            evidence = by_page.get(question.page, [])
            writer.add("training", question, _with_evidence(question, hits, evidence))
        for question in golden:
            writer.add("golden", question, _find(question, retriever)[:NUM_GOLDEN])
    for name, count in writer.write().items():
        print(f"{reading_set.FOLDER}/{name}: {count} lines")


def _is_own(uri: str) -> bool:
    return uri.partition("/")[0] in OWN_SOURCES


def _passages_by_page() -> dict[str, list[Hit]]:
    by_page: dict[str, list[Hit]] = {}
    for row in files.read(CHUNKS_FILE, CHUNKS):
        if not readers.is_public(row["readers"]):
            continue
        source = Source(row["uri"], row["text"], "")
        by_page.setdefault(source.uri, []).append(Hit(source, row["title"], 0.0))
    return by_page


def _require_pages(questions: Sequence[DocumentQuestion], pages: Collection[str]) -> None:
    if not any(question.page in pages for question in questions):
        raise UserError(
            "no page of data/qa is in the index: the reading set is made of the sample, which "
            "`python -m pipelines adopt --back` brings back"
        )


def _find(question: DocumentQuestion, retriever: Retriever) -> list[Hit]:
    hits: list[Hit] = []
    for passage in retriever.find(question.question, NUM_CANDIDATES):
        if _is_own(passage.uri):
            source = Source(passage.uri, passage.text, "")
            hits.append(Hit(source, passage.title, passage.similarity))
    return hits


def _visible(hits: Sequence[Hit], hidden_pages: Collection[str]) -> list[Hit]:
    return [hit for hit in hits if hit.source.uri not in hidden_pages]


def _with_evidence(
    question: DocumentQuestion, hits: Sequence[Hit], evidence: Sequence[Hit]
) -> list[Hit]:
    """The best hits; the last gives way to the evidence if it is not among them."""
    best = list(hits[:NUM_TRAINING])
    if not question.is_answerable:
        return best
    for part in (question.evidence or "", question.answers[0]):
        for hit in (*best, *hits, *evidence):
            if not contains(hit.source.text, part):
                continue
            return best if hit in best else [*best[: NUM_TRAINING - 1], hit]
    return best
