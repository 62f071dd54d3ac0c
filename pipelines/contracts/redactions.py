"""redactions.parquet: one row a value that was replaced, sorted by uri; no row holds a value.

{"uri": "handbook/contacts.md", "source": "handbook", "type": "PHONE_NUMBER", "part": "text",
 "line": 12, "before": "| Reception | ", "replacement": "[PHONE_NUMBER 1]",
 "after": " |\\n| Night desk | [PHONE_NUMBER 2] |", "why": "PhoneForms: beside 'Phone'"}
"""

import pyarrow as pa

REDACTIONS = pa.schema([
    pa.field("uri", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("type", pa.string(), nullable=False),  # as in redact.actions
    pa.field("part", pa.string(), nullable=False),  # text or title
    pa.field("line", pa.int32(), nullable=False),  # of the redacted part, from 1
    pa.field("before", pa.string(), nullable=False),  # at most 40 redacted characters
    pa.field("replacement", pa.string(), nullable=False),  # empty if it was removed
    pa.field("after", pa.string(), nullable=False),  # at most 40 redacted characters
    pa.field("why", pa.string(), nullable=False),  # the recognizer and what it saw
])  # fmt: skip
