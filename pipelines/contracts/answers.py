"""answers.parquet: one row for each system and golden question, sorted by system and id.

{"system": "candidate", "id": "gate.why_refused-1", "question": "Where can I read ...",
 "expected": "Read data/reports/...", "answer": "Read data/reports/...", "kind": "faq",
 "topic": "gate.why_refused", "style": "plain", "page": "handbook/gate.md",
 "retrieved": ["handbook/gate.md", ...], "cited": ["5b0c...-0003", ...], "exact_match": 1.0,
 "token_f1": 1.0, "rouge_l": 1.0, "embedding_similarity": 1.0, "groundedness": 0.5,
 "refusal_recall": None, "false_refusal": 0.0, "hit_at_1": 1.0, "hit_at_3": 1.0, "hit_at_5": 1.0,
 "mrr": 1.0, "ndcg_at_10": 1.0, "num_prompt_tokens": 21, "num_new_tokens": 33}
"""

import pyarrow as pa

# Every metric is from 0 to 1, and null if it does not apply (no page answers an out-of-scope
# question, so it has no retrieval metrics).
GENERATION = (
    "exact_match",
    "token_f1",
    "rouge_l",
    "embedding_similarity",
    "groundedness",
    "refusal_recall",
    "false_refusal",
)
RETRIEVAL = ("hit_at_1", "hit_at_3", "hit_at_5", "mrr", "ndcg_at_10")
METRICS = (*GENERATION, *RETRIEVAL)
SLICES = ("kind", "style", "topic", "page")

ANSWERS = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),  # a name of contracts/scores.py
        pa.field("id", pa.string(), nullable=False),  # of the golden question
        pa.field("question", pa.string(), nullable=False),
        pa.field("expected", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("style", pa.string(), nullable=False),
        pa.field("page", pa.string(), nullable=True),  # uri of the document that answers
        pa.field("retrieved", pa.list_(pa.string()), nullable=False),  # passages' uris, best first
        # chunk ids of the first `evaluate.num_passages` retrieved passages
        pa.field("cited", pa.list_(pa.string()), nullable=False),
        pa.field("exact_match", pa.float64(), nullable=True),
        pa.field("token_f1", pa.float64(), nullable=True),
        pa.field("rouge_l", pa.float64(), nullable=True),
        pa.field("embedding_similarity", pa.float64(), nullable=True),
        pa.field("groundedness", pa.float64(), nullable=True),
        pa.field("refusal_recall", pa.float64(), nullable=True),
        pa.field("false_refusal", pa.float64(), nullable=True),
        pa.field("hit_at_1", pa.float64(), nullable=True),
        pa.field("hit_at_3", pa.float64(), nullable=True),
        pa.field("hit_at_5", pa.float64(), nullable=True),
        pa.field("mrr", pa.float64(), nullable=True),
        pa.field("ndcg_at_10", pa.float64(), nullable=True),
        pa.field("num_prompt_tokens", pa.int32(), nullable=False),
        pa.field("num_new_tokens", pa.int32(), nullable=False),
    ]
)
