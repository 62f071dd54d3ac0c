"""Public question sets (SQuAD, XQuAD), and the product's own index of their paragraphs."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines import files
from pipelines.config.chunk import ChunkConfig
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.engine import EngineConfig
from pipelines.config.index import IndexConfig
from pipelines.config.params import Params
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.report import Check, Report
from pipelines.stages import chunk, embed, index

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/data"
SETS = {"xquad": SHARED / "xquad/xquad.en.json", "squad": SHARED / "squad/dev-v1.1.json"}
DOCUMENTS_FILE = Path("documents.parquet")
VALIDATION = Path("validation.json")
CHUNKS = Path("chunks.parquet")
VECTORS = Path("vectors.parquet")
EMBEDDING = Path("embedding.json")
RECEIPT = Path("index.json")
needs_data = pytest.mark.skipif(
    not all(path.exists() for path in SETS.values()),
    reason="XQuAD and SQuAD are not beside this checkout",
)


class Question(NamedTuple):
    """A question, the name of the paragraph that answers it, and the right answers."""

    text: str
    paragraph: str
    answers: list[str]


class Paragraph(NamedTuple):
    """`title` is that of its article."""

    title: str
    text: str


def load_set(path: Path) -> tuple[dict[str, Paragraph], list[Question]]:
    """Paragraphs by name, and the questions. A text that occurs twice counts once."""
    paragraphs: dict[str, Paragraph] = {}
    names: dict[str, str] = {}
    questions: list[Question] = []
    for article in json.loads(path.read_text())["data"]:
        title = article["title"].replace("_", " ")
        for entry in article["paragraphs"]:
            name = names.setdefault(entry["context"], f"p{len(names):05}")
            paragraphs[name] = Paragraph(title, entry["context"])
            questions += [_question(item, name) for item in entry["qas"]]
    return paragraphs, questions


def _question(item: dict[str, Any], paragraph: str) -> Question:
    answers = [answer["text"] for answer in item["answers"]]
    return Question(item["question"], paragraph, list(dict.fromkeys(answers)))


def uri_of(source: str, paragraph: str) -> str:
    """The uri of the document that `write_documents` makes of a paragraph."""
    return f"{source}/{paragraph}"


def write_documents(source: str, paragraphs: dict[str, Paragraph]) -> None:
    """One document for each paragraph, and the report that lets the chunk stage start."""
    rows = []
    for name, paragraph in paragraphs.items():
        text = paragraph.text + "\n"
        row = {
            "doc_id": name,
            "uri": uri_of(source, name),
            "title": paragraph.title,
            "text": text,
            "sections": [],
            "pages": [],
            "media_type": "text/plain",
            "source": source,
            "digest": files.text_digest(text),
            "content_digest": "",
            "language": "en",
            "aliases": [],
            "readers": ["everyone"],
        }
        rows.append(row)
    files.write(DOCUMENTS_FILE, DOCUMENTS, rows)
    check = Check(name="any", passed=True, observed="", expected="")
    files.write_json(VALIDATION, Report.of([check]))


def build(values: Params) -> Receipt:
    """Run chunk, embed and index with the sections of params.yaml."""
    encoder = values.section(EncoderConfig)
    engine = values.section(EngineConfig)
    chunk.run(
        chunk.Config(chunk=values.section(ChunkConfig), encoder=encoder, engine=engine),
        chunk.Inputs(documents=DOCUMENTS_FILE, validation=VALIDATION),
        chunk.Outputs(chunks=CHUNKS),
    )
    embed.run(
        embed.Config(embed=values.section(EmbedConfig), encoder=encoder, engine=engine),
        embed.Inputs(chunks=CHUNKS),
        embed.Outputs(vectors=VECTORS, embedding=EMBEDDING),
    )
    index.run(
        values.section(IndexConfig),
        index.Inputs(chunks=CHUNKS, vectors=VECTORS),
        index.Outputs(index=RECEIPT),
    )
    return files.read_json(RECEIPT, Receipt)
