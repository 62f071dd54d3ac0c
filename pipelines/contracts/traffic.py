"""The traffic log: what users asked and what they thought of the answers.

data/traffic/requests/*.parquet has one row per request:

{"request_id": "01a9f3...", "time": 2026-11-21T14:02:11.031Z, "release_id": "r-3f2a9c01b7de",
 "tenant": "default", "position": 0.4117, "question": "How do I ...",
 "retrieved": [{"chunk_id": "5b0c...-0003", "uri": "handbook/gate.md", "score": 0.71}, ...],
 "answer": "Read ...", "status": "ok", "error": null, "refused": false, "guard_flags": [],
 "groundedness": 0.83, "num_prompt_tokens": 21, "num_new_tokens": 33, "guard_ms": 0.1,
 "embed_ms": 6.2, "search_ms": 8.0, "generate_ms": 41.5, "total_ms": 57.3, "cost": 0.00002}

data/traffic/feedback/*.parquet has one row per feedback:

{"request_id": "01a9f3...", "time": 2026-11-21T14:05:40.002Z, "who": "ada", "thumb": -1,
 "correction": "Read ...", "comment": null}

The schemas stand in pipelines/runtime, because the log is written inside Triton.
"""

from pipelines.runtime.traffic_schema import (
    FEEDBACK,
    REQUESTS,
    REQUESTS_WITHOUT_POSITION,
    STATUSES,
)

__all__ = ["FEEDBACK", "REQUESTS", "REQUESTS_WITHOUT_POSITION", "STATUSES"]
