"""answers.parquet: one row for each system and golden question, sorted by system and id.

{"system": "candidate", "id": "gate.why_refused-1", "question": "Where can I read ...",
 "expected": "Read data/reports/...", "answer": "Read data/reports/...", "kind": "faq",
 "topic": "gate.why_refused", "style": "plain", "page": "handbook/gate.md",
 "retrieved": ["handbook/gate.md", ...], "cited": ["5b0c...-0003", ...], "exact_match": 1.0,
 "token_f1": 1.0, "rouge_l": 1.0, "embedding_similarity": 1.0, "groundedness": 0.5,
 "refusal_recall": None, "false_refusal": 0.0, ...,
 "hit_at_1": 1.0, "hit_at_3": 1.0, "hit_at_5": 1.0,
 "mrr": 1.0, "ndcg_at_10": 1.0, "num_prompt_tokens": 21, "num_new_tokens": 33}
"""

import pyarrow as pa

# Every metric is from 0 to 1, and null if it does not apply (no page answers an out-of-scope
# question, so it has no retrieval metrics). Of the less obvious ones:
#   refusal_recall        of the questions that are to be refused, those that were
#   refusal_precision     of the refusals, those that were right
#   answered              of the questions that have an answer, those that got one
#   unanswerable_refused  of the unanswerable questions about documents, those refused
#   faq_match             exact match with the canonical answer, of kind faq
#   document_match, _f1   the same and token F1 with the best of the right answers, of kind document
#   unseen_f1             document_f1 of documents that no training question is about
#   answer_contained      a right answer stands in the given one, of kind document
#   evidence_hit          a passage that was shown holds the evidence, of kind document
#   supported             of the answers that are no refusals, those that the passages support
GENERATION = (
    "exact_match",
    "token_f1",
    "rouge_l",
    "embedding_similarity",
    "groundedness",
    "refusal_recall",
    "false_refusal",
    "answered",
    "refusal_precision",
)
READING = (
    "unanswerable_refused",
    "faq_match",
    "document_match",
    "document_f1",
    "unseen_f1",
    "answer_contained",
    "evidence_hit",
    "supported",
)
RETRIEVAL = ("hit_at_1", "hit_at_3", "hit_at_5", "mrr", "ndcg_at_10")
METRICS = (*GENERATION, *READING, *RETRIEVAL)
SLICES = ("kind", "style", "topic", "page", "documents")

ANSWERS = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),  # a name of contracts/scores.py
        pa.field("id", pa.string(), nullable=False),  # of the golden question
        pa.field("question", pa.string(), nullable=False),
        pa.field("expected", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("withheld", pa.string(), nullable=True),  # the model's own, if it may not leave
        pa.field("kind", pa.string(), nullable=False),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("style", pa.string(), nullable=False),
        pa.field("page", pa.string(), nullable=True),  # uri of the document that answers
        pa.field("alternatives", pa.list_(pa.string()), nullable=False),  # further right answers
        pa.field("evidence", pa.string(), nullable=True),  # verbatim words of the page
        pa.field("documents", pa.string(), nullable=True),  # seen | unseen: by training questions
        pa.field("retrieved", pa.list_(pa.string()), nullable=False),  # passages' uris, best first
        # chunk ids of the passages that the answer was read from
        pa.field("cited", pa.list_(pa.string()), nullable=False),
        *(pa.field(metric, pa.float64(), nullable=True) for metric in METRICS),
        pa.field("num_prompt_tokens", pa.int32(), nullable=False),
        pa.field("num_new_tokens", pa.int32(), nullable=False),
    ]
)
