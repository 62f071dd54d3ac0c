"""chunks.parquet: one row a passage, sorted by document and position.

    {"chunk_id": "5b0c3f8e9a1d2c47-0003", "doc_id": "5b0c3f8e9a1d2c47", "uri": "handbook/setup.md", "title": "Set-up",
     "headings": ["Set-up", "Environments"], "text": "## Environments\\n\\nThree environments ...", "start": 910, "end": 1702,
     "pages": [2, 3], "num_tokens": 164, "digest": "9f1e..."}

The schema's metadata names the encoder whose tokens were counted: `encoder_model`, `encoder_revision`.
"""

import pyarrow as pa

CHUNKS = pa.schema([
    pa.field("chunk_id", pa.string(), nullable=False),
    pa.field("doc_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("title", pa.string(), nullable=False),
    pa.field("headings", pa.list_(pa.string()), nullable=False),
    pa.field("text", pa.string(), nullable=False),  # exactly document.text[start:end]
    pa.field("start", pa.int32(), nullable=False),  # characters in the document's text
    pa.field("end", pa.int32(), nullable=False),  # exclusive
    pa.field("pages", pa.list_(pa.int32()), nullable=False),  # numbers of the pages that it lies on, from 1; empty: not paged
    pa.field("num_tokens", pa.int32(), nullable=False),  # encoder tokens of `text`
    pa.field("digest", pa.string(), nullable=False),  # sha256 of the text that is embedded: headings and text
])  # fmt: skip


def embedded_text(title: str, headings: list[str], text: str) -> str:
    """What the encoder reads for a passage: title and headings before the text, as the published retrieval numbers join them."""
    path = [title, *(heading for heading in headings if heading != title)]
    return " > ".join(part for part in path if part) + "\n" + text
