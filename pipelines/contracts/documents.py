"""documents.parquet: one row a document, sorted by doc_id.

{"doc_id": "5b0c3f8e9a1d2c47", "uri": "handbook/setup.md", "title": "Set-up",
 "text": "# Set-up\\n\\nType `make run` ...",
 "sections": [{"heading": "Set-up", "level": 1, "start": 0, "end": 2310}], "pages": [],
 "media_type": "text/markdown", "source": "handbook", "digest": "5b0c3f...",
 "content_digest": "77ab01...", "language": "en", "aliases": ["handbook/old/setup.md"],
 "readers": ["everyone"]}

rejections.parquet: one row a document that could not be taken in, sorted by uri.

{"uri": "handbook/notes.txt", "source": "handbook", "stage": "convert",
 "reason": "not utf-8: invalid start byte at byte 12", "digest": "77ab01..."}
"""

import pyarrow as pa

SECTION = pa.struct([
    pa.field("heading", pa.string(), nullable=False),
    pa.field("level", pa.int8(), nullable=False),  # 1 to 6
    pa.field("start", pa.int32(), nullable=False),  # characters in `text`, heading line included
    pa.field("end", pa.int32(), nullable=False),  # exclusive: where the next section starts
])  # fmt: skip

DOCUMENTS = pa.schema([
    pa.field("doc_id", pa.string(), nullable=False),  # first 16 hex digits of sha256(uri)
    pa.field("uri", pa.string(), nullable=False),  # <source name>/<path or package name>
    pa.field("title", pa.string(), nullable=True),
    pa.field("text", pa.string(), nullable=False),  # Markdown or plain text
    pa.field("sections", pa.list_(SECTION), nullable=False),
    # character where each page starts; empty if the document has no pages
    pa.field("pages", pa.list_(pa.int32()), nullable=False),
    pa.field("media_type", pa.string(), nullable=False),  # of the source's content
    pa.field("source", pa.string(), nullable=False),  # name of the source in params.yaml
    pa.field("digest", pa.string(), nullable=False),  # sha256 of `text`
    pa.field("content_digest", pa.string(), nullable=False),  # sha256 of the source's bytes
    pa.field("language", pa.string(), nullable=False),  # ISO 639-1
    # uris of near-duplicates that this document stands for
    pa.field("aliases", pa.list_(pa.string()), nullable=False),
    # groups that may read it, sorted; `everyone` alone if all may (runtime/readers.py)
    pa.field("readers", pa.list_(pa.string()), nullable=False),
])  # fmt: skip

REJECTIONS = pa.schema([
    pa.field("uri", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    # source: it could not be provided; convert: its reader failed; quality: its text broke a rule;
    # readers: it names none of those that may read its source
    pa.field("stage", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("digest", pa.string(), nullable=True),  # sha256 of the content, if there was any
])  # fmt: skip


def restriction(groups: list[str]) -> str:
    """Why no question of ours may name a document with these readers."""
    return (
        f"may be read by {', '.join(groups)} alone, and whatever teaches or judges the assistant "
        "must be for everyone: name a page that everyone may read"
    )
