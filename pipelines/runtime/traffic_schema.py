"""The Arrow schemas of the traffic log; contracts/traffic.py shows an example record of each."""

import pyarrow as pa

from .status import Status

STATUSES = tuple(status.value for status in Status)

RETRIEVED_PASSAGE = pa.struct(
    [
        pa.field("chunk_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        # Cosine with the question; the order is that of the hybrid search.
        pa.field("score", pa.float32(), nullable=False),
    ]
)

REQUESTS = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        # When the request arrived.
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("release_id", pa.string(), nullable=False),
        pa.field("tenant", pa.string(), nullable=False),
        # From 0 to 1; it chose the release. Requests of one asker have the same one. Null in files
        # that were written before there was a gateway.
        pa.field("position", pa.float64(), nullable=True),
        pa.field("question", pa.string(), nullable=False),
        # Best first; empty if nothing was found or searched.
        pa.field("retrieved", pa.list_(RETRIEVED_PASSAGE), nullable=False),
        # Null unless status is ok.
        pa.field("answer", pa.string(), nullable=True),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=True),
        # The answer is the refusal that the FAQ states.
        pa.field("refused", pa.bool_(), nullable=False),
        pa.field("guard_flags", pa.list_(pa.string()), nullable=False),
        # As in evaluate: share of the answer's sentences that are near a retrieved passage.
        pa.field("groundedness", pa.float32(), nullable=True),
        pa.field("num_prompt_tokens", pa.int32(), nullable=False),
        pa.field("num_new_tokens", pa.int32(), nullable=False),
        # Null if the step was not reached.
        pa.field("guard_ms", pa.float32(), nullable=True),
        pa.field("embed_ms", pa.float32(), nullable=True),
        pa.field("search_ms", pa.float32(), nullable=True),
        pa.field("generate_ms", pa.float32(), nullable=True),
        pa.field("total_ms", pa.float32(), nullable=False),
        # By the price table of params.yaml, in its currency.
        pa.field("cost", pa.float64(), nullable=False),
    ]
)

# Of files that were written before there was a gateway.
REQUESTS_WITHOUT_POSITION = REQUESTS.remove(REQUESTS.get_field_index("position"))

FEEDBACK = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("who", pa.string(), nullable=False),
        # 1 or -1; null if only a text was given.
        pa.field("thumb", pa.int8(), nullable=True),
        # The answer that should have come.
        pa.field("correction", pa.string(), nullable=True),
        pa.field("comment", pa.string(), nullable=True),
    ]
)
