"""data/reports/drift/windows/<window>.parquet: the requests of one window.

They are validated, without duplicates, and with their last feedback.

{"request_id": "01a9f3...", "time": 2026-11-21T14:02:11.031Z, "release_id": "r-3f2a9c01b7de",
 "question": "How do I ...", "answer": "Read ...", "status": "ok", "refused": false,
 "num_guard_flags": 0, "groundedness": 0.83, "best_score": 0.71, "score_gap": 0.05,
 "num_retrieved": 10, "top_page": "handbook/gate.md", "num_prompt_tokens": 21,
 "num_new_tokens": 33, "total_ms": 57.3, "cost": 0.00002, "thumb": -1, "correction": "Read ..."}
"""

import pyarrow as pa

WINDOW = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("release_id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        # Null in rows made of golden questions.
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=True),
        pa.field("answer", pa.string(), nullable=True),
        pa.field("refused", pa.bool_(), nullable=True),
        pa.field("num_guard_flags", pa.int32(), nullable=True),
        pa.field("groundedness", pa.float32(), nullable=True),
        pa.field("best_score", pa.float32(), nullable=True),  # of the best passage
        pa.field("score_gap", pa.float32(), nullable=True),  # best less second best
        pa.field("num_retrieved", pa.int32(), nullable=True),
        pa.field("top_page", pa.string(), nullable=True),  # uri of the best passage's document
        pa.field("num_prompt_tokens", pa.int32(), nullable=True),
        pa.field("num_new_tokens", pa.int32(), nullable=True),
        pa.field("total_ms", pa.float32(), nullable=True),
        pa.field("cost", pa.float64(), nullable=True),
        pa.field("thumb", pa.int8(), nullable=True),
        pa.field("correction", pa.string(), nullable=True),
    ]
)
