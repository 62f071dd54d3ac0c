"""chunk: documents -> passages, measured in the encoder's own tokens."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import chunking, encoding, files, place, workcache
from pipelines.chunking import Sizes, headings_at, pages_at, spans
from pipelines.config.chunk import ChunkConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.engine import EngineConfig
from pipelines.contracts import chunks as chunks_contract
from pipelines.contracts.chunks import CHUNKS, embedded_text
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Report
from pipelines.engine import LOCAL, Work, work
from pipelines.errors import UserError
from pipelines.workcache import Cache

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DOCUMENTS_A_CALL = 64  # that one process of a cluster works on at a time
DECIDING = ["digest", "title", "sections", "pages"]  # of a document: what its passages depend on
NAMED = ["doc_id", "uri", "title", "text"]  # of a document: what its passages have from it


def run(config: ChunkConfig, encoder: EncoderConfig, documents: Path, validation: Path, chunks: Path, engine: EngineConfig = LOCAL) -> None:
    """Cut every document. Raises Refusal where the documents' validation did not pass."""
    files.read_json(validation, Report).demand(f"the validation of {documents}", "Mend the documents, or the bounds in params.yaml's `validate` section")
    folder = encoding.locate(encoder.model, encoder.revision)
    limit = encoding.max_tokens(folder)
    if config.max_tokens > limit - 2:
        raise UserError(f"params.yaml: chunk.max_tokens: {config.max_tokens} is more than the encoder {encoder.model} reads ({limit - 2} tokens): the rest of each chunk would not be found. Lower it")
    schema = CHUNKS.with_metadata({"encoder_model": encoder.model, "encoder_revision": encoder.revision or ""})
    sizes = Sizes(config.max_tokens, config.min_tokens, config.overlap_tokens, config.max_characters)
    with workcache.opened(place.shared_state() / "work.sqlite", _kind(folder, sizes)) as cache:
        keys = workcache.keys_of(documents, DOCUMENTS, DECIDING, _key)
        for key, found in work(engine, partial(_cutter, encoder, sizes), cache.to_do(documents, DOCUMENTS, keys), DOCUMENTS_A_CALL):
            cache.put({key: found})
        count = files.write(chunks, schema, _rows(documents, cache, keys))
    print(f"{count} chunks of at most {config.max_tokens} tokens")


def _kind(folder: Path, sizes: Sizes) -> str:
    code = (Path(__file__), Path(chunking.__file__), Path(chunks_contract.__file__))
    return workcache.kind("chunk", code, f"{sizes}{files.digest(folder / 'tokenizer.json')}", ("markdown-it-py", "tokenizers"))


def _cutter(encoder: EncoderConfig, sizes: Sizes) -> Work:
    """Gives (key, passages) for (key, document)."""
    tokenizer = encoding.tokenizer(encoding.locate(encoder.model, encoder.revision))
    return lambda rows: [(key, _cut(row, tokenizer, sizes)) for key, row in rows]


def _key(row: dict[str, Any]) -> str:
    return files.text_digest(json.dumps([row[name] for name in DECIDING]))


def _rows(documents: Path, cache: Cache, keys: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of chunks.parquet. What a document was cut into is kept by its digest, so that one that has not changed is not cut again."""
    for batch, cuts in cache.done(documents, DOCUMENTS, keys, NAMED):
        for row, found in zip(batch.to_pylist(), cuts, strict=True):
            where = {"doc_id": row["doc_id"], "uri": row["uri"], "title": row["title"] or ""}
            for number, cut in enumerate(found):
                yield {"chunk_id": f"{row['doc_id']}-{number:04}", **where, **cut, "text": row["text"][cut["start"] : cut["end"]]}


def _cut(document: dict[str, Any], tokenizer: "Tokenizer", sizes: Sizes) -> list[dict[str, Any]]:
    """What chunks.parquet says of each passage, but for the document's names and the text, which are in the document."""
    title, found = document["title"] or "", []
    cut = spans(document["text"], document["sections"], tokenizer, sizes)
    texts = [document["text"][span.start : span.end] for span in cut]
    counted = tokenizer.encode_batch(texts, add_special_tokens=False)
    for span, text, tokens in zip(cut, texts, counted, strict=True):
        headings = headings_at(document["sections"], span)
        digest = files.text_digest(embedded_text(title, headings, text))
        found.append({"headings": headings, "start": span.start, "end": span.end, "pages": pages_at(document["pages"], span), "num_tokens": len(tokens.ids), "digest": digest})
    return found
