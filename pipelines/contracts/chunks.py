"""chunks.parquet: one row a passage, sorted by document and position.

    {"chunk_id": "5b0c3f8e9a1d2c47-0003", "doc_id": "5b0c3f8e9a1d2c47", "uri": "handbook/setup.md",
     "title": "Set-up", "headings": ["Set-up", "Environments"],
     "table_head": null, "text": "## Environments\\n\\nThree environments ...", "start": 910,
     "end": 1702, "pages": [2, 3], "readers": ["everyone"], "num_tokens": 164,
     "digest": "9f1e..."}

The schema's metadata names the encoder that counted the tokens: `encoder_model`,
`encoder_revision`.
"""

import pyarrow as pa

CHUNKS = pa.schema([
    pa.field("chunk_id", pa.string(), nullable=False),
    pa.field("doc_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("title", pa.string(), nullable=False),
    pa.field("headings", pa.list_(pa.string()), nullable=False),
    # The line that names the columns, if the text begins among the rows of a table that is cut.
    pa.field("table_head", pa.string(), nullable=True),
    pa.field("text", pa.string(), nullable=False),  # exactly document.text[start:end]
    pa.field("start", pa.int32(), nullable=False),  # characters in the document's text
    pa.field("end", pa.int32(), nullable=False),  # exclusive
    # Numbers of the pages that it lies on, from 1; empty if the document has no pages.
    pa.field("pages", pa.list_(pa.int32()), nullable=False),
    pa.field("readers", pa.list_(pa.string()), nullable=False),  # of its document
    pa.field("num_tokens", pa.int32(), nullable=False),  # encoder tokens of `text`
    # sha256 of the text that is embedded: headings, head of a table and text.
    pa.field("digest", pa.string(), nullable=False),
])  # fmt: skip

# Of releases that were made before documents had readers.
CHUNKS_WITHOUT_READERS = CHUNKS.remove(CHUNKS.get_field_index("readers"))


def embedded_text(title: str, headings: list[str], text: str, table_head: str | None) -> str:
    """What the encoder reads for a passage: title, headings and head of a table before the text.

    They are joined as for the published retrieval results.
    """
    headings_below = [heading for heading in headings if heading != title]
    path = filter(None, [title, *headings_below])
    lines = [" > ".join(path), *filter(None, [table_head]), text]
    return "\n".join(lines)
