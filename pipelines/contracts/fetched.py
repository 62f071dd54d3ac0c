"""data/raw/fetched/<source>.parquet: a remote source when it was fetched, one row a document.

{"uri": "manual/install.html", "hint": null, "title": null, "content": b"<html>...",
 "problem": null, "etag": "\\"33a6\\"", "modified": "Sat, 21 Nov 2026 ..."}
"""

import pyarrow as pa

ROWS_A_BATCH = 16  # in memory at once; documents can be large

FETCHED = pa.schema([
    pa.field("uri", pa.string(), nullable=False),
    pa.field("hint", pa.string(), nullable=True),  # media type that the source states
    pa.field("title", pa.string(), nullable=True),
    pa.field("content", pa.binary(), nullable=False),  # empty if there is a problem
    pa.field("problem", pa.string(), nullable=True),  # why it could not be fetched
    pa.field("etag", pa.string(), nullable=True),  # of HTTP, for the next conditional request
    pa.field("modified", pa.string(), nullable=True),  # Last-Modified, for the same
])  # fmt: skip
