"""left_out.parquet: one row for each document and kind of text that its reader left out.

Sorted by uri and kind. A document that lost nothing has no row.

{"uri": "site/guide.html", "source": "site", "num_kept": 5120, "kind": "navigation",
 "num_left_out": 833}
"""

import pyarrow as pa

LEFT_OUT = pa.schema([
    pa.field("uri", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),  # name of the source in params.yaml
    pa.field("num_kept", pa.int64(), nullable=False),  # characters of the document's text
    pa.field("kind", pa.string(), nullable=False),  # what it was, in the reader's words
    # characters of the source; bytes of attachments and embedded files
    pa.field("num_left_out", pa.int64(), nullable=False),
])  # fmt: skip
