"""vectors.parquet: one row a chunk, in the order of chunks.parquet.

    {"chunk_id": "5b0c3f8e9a1d2c47-0003", "vector": [0.021, -0.043, ...]}

The schema's metadata says how they were computed: `encoder_model`, `encoder_revision`,
`encoder_licence`, `encoder_digest`, `engine`, `precision` and `dimensions`.
"""

import pyarrow as pa


def vectors(dimensions: int) -> pa.Schema:
    """Schema for unit-length float32 vectors of that many dimensions."""
    value = pa.field("item", pa.float32(), nullable=False)
    return pa.schema(
        [
            pa.field("chunk_id", pa.string(), nullable=False),
            pa.field("vector", pa.list_(value, dimensions), nullable=False),
        ]
    )
