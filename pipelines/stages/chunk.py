"""chunk: documents -> passages, measured in the encoder's own tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import encoding, files
from pipelines.chunking import Sizes, Span, headings_at, pages_at, spans
from pipelines.config.chunk import ChunkConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.contracts.chunks import CHUNKS, embedded_text
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Report
from pipelines.errors import UserError


def run(config: ChunkConfig, encoder: EncoderConfig, documents: Path, validation: Path, chunks: Path) -> None:
    """Cut every document. Raises Refusal where the documents' validation did not pass."""
    files.read_json(validation, Report).demand(f"the validation of {documents}", "Mend the documents, or the bounds in params.yaml's `validate` section")
    folder = encoding.locate(encoder.model, encoder.revision)
    limit = encoding.max_tokens(folder)
    if config.max_tokens > limit - 2:
        raise UserError(f"params.yaml: chunk.max_tokens: {config.max_tokens} is more than the encoder {encoder.model} reads ({limit - 2} tokens): the rest of each chunk would not be found. Lower it")
    schema = CHUNKS.with_metadata({"encoder_model": encoder.model, "encoder_revision": encoder.revision or ""})
    sizes = Sizes(config.max_tokens, config.min_tokens, config.overlap_tokens, config.max_characters)
    count = files.write(chunks, schema, _rows(documents, folder, sizes))
    print(f"{count} chunks of at most {config.max_tokens} tokens")


def _rows(documents: Path, folder: Path, sizes: Sizes) -> Iterator[dict[str, Any]]:
    tokenizer = encoding.tokenizer(folder)
    for document in files.read(documents, DOCUMENTS):
        cut = spans(document["text"], document["sections"], tokenizer, sizes)
        texts = [document["text"][span.start : span.end] for span in cut]
        counted = tokenizer.encode_batch(texts, add_special_tokens=False)
        for number, (span, text, tokens) in enumerate(zip(cut, texts, counted, strict=True)):
            yield _row(document, number, span, text, len(tokens.ids))


def _row(document: dict[str, Any], number: int, span: Span, text: str, num_tokens: int) -> dict[str, Any]:
    title, headings = document["title"] or "", headings_at(document["sections"], span)
    digest = files.text_digest(embedded_text(title, headings, text))
    where = {"chunk_id": f"{document['doc_id']}-{number:04}", "doc_id": document["doc_id"], "uri": document["uri"]}
    return where | {"title": title, "headings": headings, "text": text, "start": span.start, "end": span.end, "pages": pages_at(document["pages"], span), "num_tokens": num_tokens, "digest": digest}
