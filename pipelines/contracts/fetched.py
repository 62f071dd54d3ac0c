"""data/raw/fetched/<source>.parquet: what a remote source had when it was fetched, one row a document.

{"uri": "manual/install.html", "hint": null, "title": null, "content": b"<html>...", "problem": null, "etag": "\\"33a6\\"", "modified": "Sat, 21 Nov 2026 ..."}
"""

import pyarrow as pa

ROWS_A_BATCH = 16  # documents can be large: they are held by so many

FETCHED = pa.schema([
    pa.field("uri", pa.string(), nullable=False),
    pa.field("hint", pa.string(), nullable=True),  # media type that the source says
    pa.field("title", pa.string(), nullable=True),
    pa.field("content", pa.binary(), nullable=False),  # empty where there is a problem
    pa.field("problem", pa.string(), nullable=True),  # why it could not be had
    pa.field("etag", pa.string(), nullable=True),  # of HTTP, for the next conditional request
    pa.field("modified", pa.string(), nullable=True),
])  # fmt: skip
