"""answers.parquet: one row a system and golden question, sorted by system and id.

{"system": "candidate", "id": "gate.why_refused-1", "question": "Where can I read ...", "expected": "Read data/reports/...",
 "answer": "Read data/reports/...", "kind": "faq", "topic": "gate.why_refused", "style": "plain", "page": "handbook/gate.md",
 "retrieved": ["handbook/gate.md", ...], "cited": ["5b0c...-0003", ...], "exact_match": 1.0, "token_f1": 1.0, "rouge_l": 1.0,
 "embedding_similarity": 1.0, "groundedness": 0.5, "refusal_recall": None, "false_refusal": 0.0, "hit_at_1": 1.0, "hit_at_3": 1.0,
 "hit_at_5": 1.0, "mrr": 1.0, "ndcg_at_10": 1.0, "num_prompt_tokens": 21, "num_new_tokens": 33}
"""

import pyarrow as pa

# Every metric is 0 to 1 and null where it does not apply (a refusal has no page to hit).
GENERATION = ("exact_match", "token_f1", "rouge_l", "embedding_similarity", "groundedness", "refusal_recall", "false_refusal")
RETRIEVAL = ("hit_at_1", "hit_at_3", "hit_at_5", "mrr", "ndcg_at_10")
METRICS = (*GENERATION, *RETRIEVAL)
SLICES = ("kind", "style", "topic", "page")

ANSWERS = pa.schema([
    *(pa.field(name, pa.string(), nullable=False) for name in ("system", "id", "question", "expected", "answer", "kind", "topic", "style")),
    pa.field("page", pa.string(), nullable=True),
    pa.field("retrieved", pa.list_(pa.string()), nullable=False),  # uris of the passages, best first
    pa.field("cited", pa.list_(pa.string()), nullable=False),  # chunk ids of the first evaluate.num_passages of them
    *(pa.field(name, pa.float64(), nullable=True) for name in METRICS),
    pa.field("num_prompt_tokens", pa.int32(), nullable=False),
    pa.field("num_new_tokens", pa.int32(), nullable=False),
])  # fmt: skip
