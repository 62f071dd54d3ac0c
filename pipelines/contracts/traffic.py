"""The traffic log: data/traffic/requests/*.parquet, one row a request, and data/traffic/feedback/*.parquet, one row a feedback.

A request: {"request_id": "01a9f3...", "time": 2026-11-21T14:02:11.031Z, "release_id": "r-3f2a9c01b7de", "tenant": "default",
 "question": "How do I ...", "retrieved": [{"chunk_id": "5b0c...-0003", "uri": "handbook/gate.md", "score": 0.71}, ...], "answer": "Read ...",
 "status": "ok", "error": null, "refused": false, "guard_flags": [], "groundedness": 0.83, "num_prompt_tokens": 21, "num_new_tokens": 33,
 "guard_ms": 0.1, "embed_ms": 6.2, "search_ms": 8.0, "generate_ms": 41.5, "total_ms": 57.3, "cost": 0.00002}
A feedback: {"request_id": "01a9f3...", "time": 2026-11-21T14:05:40.002Z, "who": "ada", "thumb": -1, "correction": "Read ...", "comment": null}
"""

import pyarrow as pa

STATUSES = ("ok", "failed", "rejected", "cancelled")  # rejected: a limit or the guard refused the request before it was worked on

RETRIEVED = pa.struct([
    pa.field("chunk_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("score", pa.float32(), nullable=False),  # cosine with the question; the order is that of the hybrid search
])  # fmt: skip

REQUESTS = pa.schema([
    pa.field("request_id", pa.string(), nullable=False),
    pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),  # when the request came
    pa.field("release_id", pa.string(), nullable=False),
    pa.field("tenant", pa.string(), nullable=False),
    pa.field("question", pa.string(), nullable=False),
    pa.field("retrieved", pa.list_(RETRIEVED), nullable=False),  # best first; empty where nothing was found or searched
    pa.field("answer", pa.string(), nullable=True),  # null unless status is ok
    pa.field("status", pa.string(), nullable=False),
    pa.field("error", pa.string(), nullable=True),
    pa.field("refused", pa.bool_(), nullable=False),  # the answer is the refusal that the FAQ states
    pa.field("guard_flags", pa.list_(pa.string()), nullable=False),
    pa.field("groundedness", pa.float32(), nullable=True),  # as evaluate's: share of answer sentences near a retrieved passage
    pa.field("num_prompt_tokens", pa.int32(), nullable=False),
    pa.field("num_new_tokens", pa.int32(), nullable=False),
    *(pa.field(f"{step}_ms", pa.float32(), nullable=True) for step in ("guard", "embed", "search", "generate")),  # null where the step was not reached
    pa.field("total_ms", pa.float32(), nullable=False),
    pa.field("cost", pa.float64(), nullable=False),  # by the price table of params.yaml, in its currency
])  # fmt: skip

FEEDBACK = pa.schema([
    pa.field("request_id", pa.string(), nullable=False),
    pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("who", pa.string(), nullable=False),
    pa.field("thumb", pa.int8(), nullable=True),  # 1 or -1; null where only a text was given
    pa.field("correction", pa.string(), nullable=True),  # the answer that should have come
    pa.field("comment", pa.string(), nullable=True),
])  # fmt: skip
