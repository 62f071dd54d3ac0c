"""chunk: documents -> passages, measured in the encoder's own tokens."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import files
from pipelines.config.chunk import ChunkConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.engine import EngineConfig
from pipelines.contracts import chunks as chunks_contract
from pipelines.contracts.chunks import CHUNKS, embedded_text
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Report
from pipelines.corpus import chunking, markdown_blocks, token_ruler
from pipelines.corpus.chunking import HeadingPaths, Sizes, cut_text, find_pages
from pipelines.corpus.markdown_blocks import Span
from pipelines.errors import UserError
from pipelines.system import paths
from pipelines.system.cache import Cache, keys_of, kind_of, open_cache
from pipelines.system.engine import Work, work
from pipelines.vectorstore import load_tokenizer, locate_encoder, max_encoder_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CODE = (
    Path(__file__),
    Path(chunking.__file__),
    Path(markdown_blocks.__file__),
    Path(token_ruler.__file__),
    Path(chunks_contract.__file__),
)
LIBRARIES = ("markdown-it-py", "tokenizers")
DOCUMENTS_A_CALL = 64  # that one process of a cluster works on at a time
KEY_COLUMNS = ["digest", "title", "sections", "pages"]  # what a document's passages depend on
COPIED_COLUMNS = [
    "doc_id",
    "uri",
    "title",
    "text",
    "readers",
]  # what passages take from their document
NUM_SPECIAL_TOKENS = 2  # that the encoder adds to each text


@dataclass(frozen=True)
class Config:
    chunk: ChunkConfig
    encoder: EncoderConfig
    engine: EngineConfig


@dataclass(frozen=True)
class Inputs:
    documents: Path
    validation: Path


@dataclass(frozen=True)
class Outputs:
    chunks: Path


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Cut every document. Raises Refusal if the documents did not pass their validation."""
    report = files.read_json(inputs.validation, Report)
    report.demand(
        f"the validation of {inputs.documents}",
        "Fix the documents, or the bounds in params.yaml's `validate` section",
    )
    encoder = config.encoder
    folder = locate_encoder(encoder.model, encoder.revision)
    _check_max_tokens(config, max_encoder_tokens(folder) - NUM_SPECIAL_TOKENS)
    metadata = {"encoder_model": encoder.model, "encoder_revision": encoder.revision or ""}
    sizes = sizes_of(config.chunk)
    settings = f"{sizes}{files.digest(folder / 'tokenizer.json')}"
    kind = kind_of("chunk", CODE, settings, LIBRARIES)
    with open_cache(paths.state_folder() / "work.sqlite", kind) as cache:
        keys = keys_of(inputs.documents, DOCUMENTS, KEY_COLUMNS, _key)
        new_rows = cache.missing_rows(inputs.documents, DOCUMENTS, keys)
        make = partial(_make_cutter, encoder, sizes)
        for key, passages in work(config.engine, make, new_rows, DOCUMENTS_A_CALL):
            cache.put({key: passages})
        rows = _rows(inputs.documents, cache, keys)
        count = files.write(outputs.chunks, CHUNKS.with_metadata(metadata), rows)
    print(f"{count} chunks of at most {config.chunk.max_tokens} tokens")


def _check_max_tokens(config: Config, limit: int) -> None:
    max_tokens = config.chunk.max_tokens
    if max_tokens > limit:
        raise UserError(
            f"params.yaml: chunk.max_tokens: {max_tokens} is more than the encoder "
            f"{config.encoder.model} reads ({limit} tokens): search would not find the rest of "
            "each chunk. Lower it"
        )


def sizes_of(config: ChunkConfig) -> Sizes:
    """The bounds of a passage."""
    return Sizes(
        max_tokens=config.max_tokens,
        min_tokens=config.min_tokens,
        overlap_tokens=config.overlap_tokens,
        max_characters=config.max_characters,
    )


def _make_cutter(encoder: EncoderConfig, sizes: Sizes) -> Work:
    """A function from (key, document) to (key, passages)."""
    tokenizer = load_tokenizer(locate_encoder(encoder.model, encoder.revision))
    return lambda rows: [(key, cut_document(row, tokenizer, sizes)) for key, row in rows]


def _key(row: dict[str, Any]) -> str:
    values = [row[name] for name in KEY_COLUMNS]
    return files.text_digest(json.dumps(values))


def _rows(documents: Path, cache: Cache[Any], keys: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of chunks.parquet, from what the cache has for each document."""
    for batch, values in cache.rows_with_values(documents, DOCUMENTS, keys, COPIED_COLUMNS):
        for document, passages in zip(batch.to_pylist(), values, strict=True):
            for number, passage in enumerate(passages):
                yield _row(document, number, passage)


def _row(document: dict[str, Any], number: int, passage: dict[str, Any]) -> dict[str, Any]:
    span = Span(passage["start"], passage["end"])
    return {
        "chunk_id": f"{document['doc_id']}-{number:04}",
        "doc_id": document["doc_id"],
        "uri": document["uri"],
        "title": document["title"] or "",
        "text": span.text_of(document["text"]),
        "readers": document["readers"],
        **passage,
    }


def cut_document(
    document: dict[str, Any], tokenizer: "Tokenizer", sizes: Sizes
) -> list[dict[str, Any]]:
    """What chunks.parquet says of each passage, except for what is in the document."""
    sections = document["sections"]
    cuts = cut_text(document["text"], sections, tokenizer, sizes)
    texts = [cut.span.text_of(document["text"]) for cut in cuts]
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    heading_paths = HeadingPaths(sections)
    passages = []
    for (span, table_head), text, encoding in zip(cuts, texts, encodings, strict=True):
        headings = heading_paths.find(span)
        text_with_headings = embedded_text(document["title"] or "", headings, text, table_head)
        passage = {
            "headings": headings,
            "table_head": table_head,
            "start": span.start,
            "end": span.end,
            "pages": find_pages(document["pages"], span),
            "num_tokens": len(encoding.ids),
            "digest": files.text_digest(text_with_headings),
        }
        passages.append(passage)
    return passages
